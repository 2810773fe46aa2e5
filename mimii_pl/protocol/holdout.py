"""A split of your own: a share of the normal clips is kept for the test, with every anomaly."""

from collections.abc import Sequence

from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, draw, hold_out, moved, split_clips


class Holdout(HeldOut):
    """Per machine ID a share of the normal clips goes to test, with all anomalies and all clips of unknown condition.

    What the data set itself says of train and test is not used. Clips of one recording stay on one side.

    Args:
        test: share of each ID's normal clips kept for the test.
        held_out: validation, seed.
    """

    def __init__(self, *, test: float = 0.2, **held_out) -> None:
        super().__init__(**held_out)
        self.test = test

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Clips with their split, sorted by path."""
        clips, normal, anomaly, rest = split_clips(clips)
        clips = moved(clips, set(normal), "train")
        tested = draw(clips, normal, self.test, self.seed, salt=[1])
        return hold_out(moved(clips, {*tested, *anomaly, *rest}, "test"), self.validation, self.seed)
