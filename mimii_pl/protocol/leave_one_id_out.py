"""Generalization to a machine not seen in training."""

from collections.abc import Sequence
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, hold_out, moved, split_clips


class LeaveOneIdOut(HeldOut):
    """Normal clips of all machine IDs but one for training, every clip of the remaining ID for testing.

    The data set's own split is ignored; anomalies of the other IDs are omitted.

    Args:
        left_out: name of the tested ID (`id_02`), or its index among the sorted IDs of each machine type; sweepable.
        **held_out: validation, seed.
    """

    def __init__(self, *, left_out: int | str = 0, **held_out: Any) -> None:
        super().__init__(**held_out)
        self.left_out = left_out

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips with their split, sorted by path."""
        clips, normal, _, _ = split_clips(clips)
        labels = self._labels(clips)
        test = {row for row, clip in enumerate(clips) if clip.label in labels}
        clips = moved(moved(clips, set(normal) - test, "train"), test, "test")
        kept = [clip for clip in clips if clip.split]
        return hold_out(kept, self.validation, self.seed)

    def _labels(self, clips: Sequence[Clip]) -> set[str]:
        """Find the tested ID of each machine type, as `<machine>/<id>`."""
        labels = set()
        for machine in {clip.machine for clip in clips}:
            ids = sorted({clip.machine_id for clip in clips if clip.machine == machine})
            chosen = ids[self.left_out : self.left_out + 1] if isinstance(self.left_out, int) else [self.left_out]
            if len(ids) < 2 or not set(chosen) & set(ids):
                raise InputError(
                    f"protocol.left_out={self.left_out}: {machine} has {len(ids)} IDs ({', '.join(ids)}); "
                    "at least two are needed: give the name of one, or its index from 0"
                )
            labels.add(f"{machine}/{chosen[0]}")
        return labels
