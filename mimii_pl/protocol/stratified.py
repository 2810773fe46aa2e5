"""A stratified split of labelled clips into train, validation and test, for classifiers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._classes import class_names, clip_class
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import Protocol, moved


class Stratified(Protocol):
    """One of `folds` parts of the labelled clips for testing, a share of the rest for validation, both stratified.

    Five folds are the usual 80/20 split; sweep them for mean and standard deviation: `-m protocol.fold=0,1,2,3,4`.
    Clips of one recording stay in one split; or, to measure generalization to unseen machines, those of one machine ID.
    The data set's own split is ignored; clips without a class are omitted.

    Args:
        target: meaning of a clip's class, see `clip_class`.
        group: clips that stay together: those of a `recording`, or of a `machine_id`.
        folds: number of parts; each class needs as many recordings (machine IDs), and at least three.
        fold: number of the part that is tested, counted from 0.
        validation: share of the other clips that is held out.
        seed: of the draw.
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
            raise InputError(f"protocol.fold={fold}, protocol.folds={folds}: at least 2 folds, counted from 0")
        if not 0 < validation <= 0.5:
            raise InputError(f"protocol.validation={validation}: must be above 0 and at most .5")
        self.target, self.group, self.folds, self.fold = target, group, folds, fold
        self.validation, self.seed = validation, seed

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips with their split, sorted by path."""
        clips = sorted((clip for clip in clips if clip_class(clip, self.target)), key=lambda clip: clip.place)
        rows = np.arange(len(clips))
        self._check(clips, rows, self.folds)
        tested = self._drawn(clips, rows, self.folds, self.fold)
        rest = np.setdiff1d(rows, tested)
        parts = max(2, min(round(1 / self.validation), *self._units(clips, rest).values()))
        self._check(clips, rest, parts)
        held_out = self._drawn(clips, rest, parts, 0)
        clips = moved([replace(clip, split="train") for clip in clips], set(tested), "test")
        return self._complete(moved(clips, set(held_out), "validation"))

    def _unit(self, clip: Clip) -> str:
        return clip.label if self.group == "machine_id" else clip.recording

    def _units(self, clips: Sequence[Clip], rows: np.ndarray) -> dict[str, int]:
        """Count the recordings (machine IDs) of each class."""
        units: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            units[clip_class(clips[row], self.target)].add(self._unit(clips[row]))
        return {name: len(members) for name, members in units.items()}

    def _check(self, clips: Sequence[Clip], rows: np.ndarray, needed: int) -> None:
        unit = "machine IDs" if self.group == "machine_id" else "recordings"
        for name, count in sorted(self._units(clips, rows).items()):
            if count < needed:
                raise InputError(
                    f"target={self.target}: class '{name}' has {count} {unit}, too few for {needed} parts. At least 3 "
                    "are needed: set protocol.folds lower, or another protocol.group of clips that stay together"
                )

    def _drawn(self, clips: Sequence[Clip], rows: np.ndarray, parts: int, part: int) -> np.ndarray:
        """Draw one of several stratified parts of these rows."""
        from sklearn.model_selection import StratifiedGroupKFold

        names = [clip_class(clips[row], self.target) for row in rows]
        units = [self._unit(clips[row]) for row in rows]
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=self.seed)
        return rows[list(folds.split(rows, names, units))[part][1]]

    def _complete(self, clips: list[Clip]) -> list[Clip]:
        names = class_names(clips, self.target)
        for split in ("train", "validation", "test"):
            present = class_names((clip for clip in clips if clip.split == split), self.target)
            if missing := [name for name in names if name not in present]:
                raise InputError(
                    f"target={self.target}: no clip of class '{missing[0]}' is left for {split}, since recordings hold "
                    "several classes: try another protocol.seed or protocol.folds"
                )
        return clips
