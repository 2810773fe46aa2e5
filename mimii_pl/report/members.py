"""Members of a back end that heard an anomaly: a row of bars per clip."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEAST_SPAN = 3.0  # standard deviations that the bars of small scores still span


class Bar(NamedTuple):
    """A bar of a row: the standardized score of a member, and where the bar lies in its track, in %."""

    name: str
    score: float
    left: float
    width: float


def member_bars(names: Sequence[str], scores: np.ndarray, weights: np.ndarray) -> list[list[Bar]]:
    """Lay out a row of bars per clip, from 0, on one scale for all clips; the last bar is the mean.

    Args:
        names: of the members, M.
        scores: standardized score of each, [N, M].
        weights: of each in the mean, [M].
    """
    scores = np.column_stack([scores, np.average(scores, axis=1, weights=weights)])
    drawn = np.nan_to_num(scores, posinf=0, neginf=0)
    low, high = min(0.0, drawn.min(initial=0)), max(LEAST_SPAN, drawn.max(initial=0))
    ends = 100 * (np.clip([np.nan_to_num(scores), np.zeros_like(scores)], low, high) - low) / (high - low)
    left, width = ends.min(axis=0), np.ptp(ends, axis=0)
    return [
        [Bar(*bar) for bar in zip((*names, "mean"), *(part.tolist() for part in row), strict=True)]
        for row in zip(scores, left, width, strict=True)
    ]
