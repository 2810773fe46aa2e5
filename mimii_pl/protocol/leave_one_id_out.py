"""Does it work for a machine that was never heard?"""

from collections.abc import Sequence

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, hold_out, moved, split_clips


class LeaveOneIdOut(HeldOut):
    """Train on the normal clips of all machine IDs but one, test on every clip of that one.

    What the data set itself says of train and test is not used; anomalies of the other IDs are left out.

    Args:
        left_out: name of the ID (`id_02`), or its number among the sorted IDs of each machine type; sweepable.
        held_out: validation, seed.
    """

    def __init__(self, *, left_out: int | str = 0, **held_out) -> None:
        super().__init__(**held_out)
        self.left_out = left_out

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Clips with their split, sorted by path."""
        clips, normal, _, _ = split_clips(clips)
        labels = self._labels(clips)
        test = {row for row, clip in enumerate(clips) if clip.label in labels}
        clips = moved(moved(clips, set(normal) - test, "train"), test, "test")
        kept = [clip for clip in clips if clip.split]
        return hold_out(kept, self.validation, self.seed)

    def _labels(self, clips: Sequence[Clip]) -> set[str]:
        """The ID left out of each machine type, as `<machine>/<id>`."""
        left = set()
        for machine in {clip.machine for clip in clips}:
            ids = sorted({clip.machine_id for clip in clips if clip.machine == machine})
            chosen = ids[self.left_out : self.left_out + 1] if isinstance(self.left_out, int) else [self.left_out]
            if len(ids) < 2 or not set(chosen) & set(ids):
                raise InputError(
                    f"protocol.left_out={self.left_out}: {machine} has {len(ids)} IDs ({', '.join(ids)}); "
                    "name one of two at least, or its number from 0"
                )
            left.add(f"{machine}/{chosen[0]}")
        return left
