"""Is one detector really better than another on these clips? The paired bootstrap over test clips.

Clips are drawn with replacement within each machine ID and label, the same ones for every detector, so that what all of
them find hard cancels out of a difference. It says how far a difference depends on which clips were recorded; how far
it depends on chance in training, the deviation over seeds says.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """Difference of two AUCs over the clips as they are, and the interval that holds it with the given confidence."""

    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """True where 0, no difference, lies outside."""
        return self.low > 0 or self.high < 0


def resampled_auc(
    labels: ArrayLike, machine: Sequence[str], machine_id: Sequence[str], scores: ArrayLike, resamples: int, seed: int
) -> NDArray:
    """AUC of several detectors over the same resamples of the same clips: mean over machine IDs, then over types.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        machine, machine_id: [N] whose clip each is.
        scores: [R, N] of R detectors (or runs), higher = more anomalous.
        resamples: B, how often clips are drawn.
        seed: of drawing them.

    Returns:
        [R, 1 + B]: over the clips as they are, then over each resample. An ID with one class does not enter; NaN where
        no ID has both.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    rng = np.random.default_rng(seed)
    types: dict[str, dict[str, list[int]]] = {}
    for row, (name, one) in enumerate(zip(machine, machine_id, strict=True)):
        types.setdefault(name, {}).setdefault(one, []).append(row)
    means = []
    for _, ids in sorted(types.items()):
        groups = [np.array(rows) for _, rows in sorted(ids.items()) if len(np.unique(labels[rows])) == 2]
        of_ids = [_resampled_group(labels[rows], scores[:, rows], resamples, rng) for rows in groups]
        means += [np.mean(of_ids, axis=0)] if of_ids else []
    return np.mean(means, axis=0) if means else np.full((len(scores), 1 + resamples), np.nan)


def _resampled_group(labels: NDArray, scores: NDArray, resamples: int, rng: np.random.Generator) -> NDArray:
    """[R, 1 + B] of one machine ID."""
    normal, anomalous = scores[:, labels == 0], scores[:, labels == 1]
    times = [_drawn(part.shape[1], resamples, rng) for part in (normal, anomalous)]
    return np.stack([weighted_auc(*parts, *times) for parts in zip(normal, anomalous, strict=True)])


def _drawn(n: int, resamples: int, rng: np.random.Generator) -> NDArray:
    """How often each of n clips is taken: once each, then in B draws of n with replacement, [1 + B, n]."""
    return np.vstack([np.ones((1, n), int), rng.multinomial(n, np.full(n, 1 / n), size=resamples)])


def weighted_auc(normal: NDArray, anomalous: NDArray, of_normal: NDArray, of_anomalous: NDArray) -> NDArray:
    """AUC where clips count several times: the share of pairs in which the anomalous clip scores above the normal one.

    Ties count half. By ranks: how many normal clips lie below an anomalous one is a sum over the sorted normal ones.

    Args:
        normal, anomalous: [N0] and [N1] scores.
        of_normal, of_anomalous: [B, N0] and [B, N1] how often each clip counts.

    Returns:
        [B].
    """
    order = np.argsort(normal)
    upto = np.zeros((len(of_normal), len(normal) + 1))  # normal clips up to each rank
    np.cumsum(of_normal[:, order], axis=1, out=upto[:, 1:])
    first, last = (np.searchsorted(normal[order], anomalous, side) for side in ("left", "right"))
    below = (upto[:, first] + upto[:, last]) / 2
    return (of_anomalous * below).sum(axis=1) / (of_normal.sum(axis=1) * of_anomalous.sum(axis=1))


def interval(one: NDArray, other: NDArray, confidence: float = 0.95) -> Interval:
    """Difference `one - other` of two rows of `resampled_auc`, with its percentile interval."""
    difference = one - other
    tail = (1 - confidence) / 2
    return Interval(float(difference[0]), *map(float, np.quantile(difference[1:], (tail, 1 - tail))))
