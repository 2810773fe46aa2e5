"""Held-out normal scores of a run in the order of time, as far as it is known."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.threshold._threshold import POOLED, Thresholds


class NormalScores(NamedTuple):
    """Scores of held-out normal clips of a machine.

    Attributes:
        scores: [n].
        spacing: from the start of a clip to that of the next in s: the length of a clip.
        ordered: whether they are in the order of time, so that neighbours tell how long a score lasts.
    """

    scores: np.ndarray
    spacing: float
    ordered: bool = True


def normal_scores(thresholds: Thresholds, label: str, spacing: float, held_out: Path | None = None) -> NormalScores:
    """Return the held-out normal scores that p-values of a machine ID rest on.

    Args:
        label: machine ID, `fan/id_00`; one without scores of its own has those of all together.
        spacing: length of a clip in s.
        held_out: the run's `held_out.csv`, whose files are in the order of time when sorted by name, their numbers as
            numbers; None or missing, as for an export: the order is not known.

    Raises:
        InputError: the file is damaged.
    """
    sorted_ = thresholds.normal_of(label)
    if held_out is not None and held_out.is_file():
        from mimii_pl.scoring.held_out_table import read_held_out  # imports torch, which an export does without

        pooled = label not in thresholds.normal or label == POOLED
        clips = [
            row for row in read_held_out(held_out) if not row.fault and (pooled or f"{row.machine}/{row.id}" == label)
        ]
        scores = np.array([row.score for row in sorted(clips, key=lambda row: _natural(row.file))])
        if len(scores) == len(sorted_) and np.array_equal(np.sort(scores), sorted_):
            return NormalScores(scores, spacing)
    return NormalScores(sorted_, spacing, ordered=False)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which `fan_2.wav` comes before `fan_10.wav`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
