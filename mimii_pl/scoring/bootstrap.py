"""Paired bootstrap over test clips: is one detector better than another beyond chance?

Clips are drawn with replacement within each machine ID and label, the same ones for every detector, so that clips that
are hard for all of them cancel out of a difference. The interval shows how far a difference depends on which clips were
recorded; how far it depends on chance in training is shown by the deviation over seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """Difference of two AUCs over the original clips, and its confidence interval."""

    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes 0, no difference."""
        return self.low > 0 or self.high < 0


def resampled_auc(
    labels: ArrayLike, machine: Sequence[str], machine_id: Sequence[str], scores: ArrayLike, resamples: int, seed: int
) -> NDArray:
    """Compute AUCs of several detectors over the same resamples: mean over machine IDs, then over machine types.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        machine, machine_id: [N] machine type and ID of each clip.
        scores: [R, N] of R detectors (or runs), higher = more anomalous.
        resamples: B, number of resamples.
        seed: of the resamples.

    Returns:
        [R, 1 + B]: over the original clips, then over each resample. IDs with one class are skipped; NaN if no ID has
        both.

    >>> resampled_auc([0, 0, 1], ["fan"] * 3, ["id_00"] * 3, [[0.1, 0.3, 0.2]], resamples=0, seed=0)
    array([[0.5]])
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    rng = np.random.default_rng(seed)
    types: dict[str, dict[str, list[int]]] = {}
    for row, (name, id_) in enumerate(zip(machine, machine_id, strict=True)):
        types.setdefault(name, {}).setdefault(id_, []).append(row)
    means = []
    for _, ids in sorted(types.items()):
        groups = [np.array(rows) for _, rows in sorted(ids.items()) if len(np.unique(labels[rows])) == 2]
        aucs = [_resampled_group(labels[rows], scores[:, rows], resamples, rng) for rows in groups]
        if aucs:
            means.append(np.mean(aucs, axis=0))
    return np.mean(means, axis=0) if means else np.full((len(scores), 1 + resamples), np.nan)


def _resampled_group(labels: NDArray, scores: NDArray, resamples: int, rng: np.random.Generator) -> NDArray:
    """Compute the AUCs of one machine ID, [R, 1 + B]."""
    normal, anomalous = scores[:, labels == 0], scores[:, labels == 1]
    counts = [_draw(part.shape[1], resamples, rng) for part in (normal, anomalous)]
    return np.stack([weighted_auc(*parts, *counts) for parts in zip(normal, anomalous, strict=True)])


def _draw(n: int, resamples: int, rng: np.random.Generator) -> NDArray:
    """Count how often each of n clips is taken: once each, then in B draws of n with replacement, [1 + B, n]."""
    return np.vstack([np.ones((1, n), int), rng.multinomial(n, np.full(n, 1 / n), size=resamples)])


def weighted_auc(normal: NDArray, anomalous: NDArray, of_normal: NDArray, of_anomalous: NDArray) -> NDArray:
    """Compute the AUC of weighted clips: the share of pairs in which the anomalous clip has the higher score.

    Ties count half. Normal clips below an anomalous one are counted by a cumulative sum over the sorted normal clips.

    Args:
        normal, anomalous: [N0] and [N1] scores.
        of_normal, of_anomalous: [B, N0] and [B, N1] how often each clip counts.

    Returns:
        [B].

    >>> weighted_auc(np.array([0.0, 2.0]), np.array([1.0]), np.array([[1, 1], [3, 1]]), np.array([[1], [1]]))
    array([0.5 , 0.75])
    """
    order = np.argsort(normal)
    upto = np.zeros((len(of_normal), len(normal) + 1))  # normal clips up to each rank
    np.cumsum(of_normal[:, order], axis=1, out=upto[:, 1:])
    first, last = (np.searchsorted(normal[order], anomalous, side) for side in ("left", "right"))
    below = (upto[:, first] + upto[:, last]) / 2
    return (of_anomalous * below).sum(axis=1) / (of_normal.sum(axis=1) * of_anomalous.sum(axis=1))


def interval(one: NDArray, other: NDArray, confidence: float = 0.95) -> Interval:
    """Return the difference `one - other` of two rows of `resampled_auc`, with its percentile interval.

    >>> interval(np.array([0.75, 0.5, 1.0]), np.array([0.5, 0.5, 0.5]), confidence=0.5)
    Interval(difference=0.25, low=0.125, high=0.375)
    """
    difference = one - other
    tail = (1 - confidence) / 2
    return Interval(float(difference[0]), *map(float, np.quantile(difference[1:], (tail, 1 - tail))))
