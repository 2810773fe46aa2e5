"""A split for unsplit data: a share of the normal clips is tested, with every anomaly."""

from collections.abc import Sequence
from typing import Any

from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, draw, hold_out, moved, split_clips


class Holdout(HeldOut):
    """A share of each machine ID's normal clips for testing, with all anomalies and all clips of unknown condition.

    The data set's own split is ignored. Clips of one recording stay in one split.

    Args:
        test: share of each ID's normal clips in the test set.
        **held_out: validation, seed.
    """

    def __init__(self, *, test: float = 0.2, **held_out: Any) -> None:
        super().__init__(**held_out)
        self.test = test

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips with their split, sorted by path."""
        clips, normal, anomaly, rest = split_clips(clips)
        clips = moved(clips, set(normal), "train")
        tested = draw(clips, normal, self.test, self.seed, salt=[1])
        return hold_out(moved(clips, {*tested, *anomaly, *rest}, "test"), self.validation, self.seed)
