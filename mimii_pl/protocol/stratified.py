"""Labelled clips to train, validation and test, each class in the same proportion: for classifiers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._classes import class_names, clip_class
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import moved


class Stratified:
    """One of `folds` parts of the labelled clips is tested, each class in proportion; a share of the rest validates.

    Five folds are the usual 80/20 split; sweep them for mean and deviation: `-m protocol.fold=0,1,2,3,4`. Clips of
    one recording stay on one side, or, on request, those of one machine ID: does it work for a machine never heard?
    What the data set itself says of train and test is not used; clips without a class are left out.

    Args:
        target: what a clip's class is, see `class_of`.
        group: what stays together: the clips of a `recording`, or of a `machine_id`.
        folds: number of parts; each class needs as many recordings (machine IDs), and three at least.
        fold: the part that is tested, counted from 0.
        validation: share of the other clips that is held out.
        seed: which clips go where.
    """

    def __init__(
        self,
        *,
        target: str = "condition",
        group: Literal["recording", "machine_id"] = "recording",
        folds: int = 5,
        fold: int = 0,
        validation: float = 0.2,
        seed: int = 0,
    ) -> None:
        if not 0 <= fold < folds or folds < 2:
            raise InputError(f"protocol.fold={fold} of protocol.folds={folds}: folds are counted from 0, two at least")
        if not 0 < validation <= 0.5:
            raise InputError(f"protocol.validation={validation}: a share above 0, .5 at most, chooses the checkpoint")
        self.target, self.group, self.folds, self.fold = target, group, folds, fold
        self.validation, self.seed = validation, seed

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Clips with their split, sorted by path."""
        clips = sorted((clip for clip in clips if clip_class(clip, self.target)), key=lambda clip: str(clip.path))
        rows = np.arange(len(clips))
        self._check(clips, rows, self.folds)
        tested = self._drawn(clips, rows, self.folds, self.fold)
        rest = np.setdiff1d(rows, tested)
        parts = max(2, min(round(1 / self.validation), *self._units(clips, rest).values()))
        self._check(clips, rest, parts)
        held = self._drawn(clips, rest, parts, 0)
        clips = moved([replace(clip, split="train") for clip in clips], set(tested), "test")
        return self._complete(moved(clips, set(held), "validation"))

    def _unit(self, clip: Clip) -> str:
        return clip.label if self.group == "machine_id" else clip.recording

    def _units(self, clips: Sequence[Clip], rows: np.ndarray) -> dict[str, int]:
        """How many recordings (machine IDs) each class has."""
        units = defaultdict(set)
        for row in rows:
            units[clip_class(clips[row], self.target)].add(self._unit(clips[row]))
        return {name: len(found) for name, found in units.items()}

    def _check(self, clips: Sequence[Clip], rows: np.ndarray, needed: int) -> None:
        what = "machine IDs" if self.group == "machine_id" else "recordings"
        for name, count in sorted(self._units(clips, rows).items()):
            if count < needed:
                raise InputError(
                    f"target={self.target}: class '{name}' has {count} {what} to be divided by {needed}: too few. "
                    "protocol.folds sets the number, protocol.group what stays together; three are needed at least"
                )

    def _drawn(self, clips: Sequence[Clip], rows: np.ndarray, parts: int, part: int) -> np.ndarray:
        """One of several parts of these rows, alike in classes."""
        from sklearn.model_selection import StratifiedGroupKFold

        names = [clip_class(clips[row], self.target) for row in rows]
        units = [self._unit(clips[row]) for row in rows]
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=self.seed)
        return rows[list(folds.split(rows, names, units))[part][1]]

    def _complete(self, clips: list[Clip]) -> list[Clip]:
        names = class_names(clips, self.target)
        for split in ("train", "validation", "test"):
            found = class_names((clip for clip in clips if clip.split == split), self.target)
            if missing := [name for name in names if name not in found]:
                raise InputError(
                    f"target={self.target}: no clip of class '{missing[0]}' is left for {split}, since recordings hold "
                    "several classes: another protocol.seed or protocol.folds may divide them better"
                )
        return clips
