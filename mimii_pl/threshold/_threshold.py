"""What thresholds share, and the thresholds of a run: one per machine ID, from held-out normal clips."""

from collections.abc import Mapping, Sequence

import numpy as np

POOLED = "all"  # every machine ID together: for IDs with too few held-out clips, and machines never heard
LEAST = 5  # held-out clips an ID needs for a threshold of its own


class Threshold:
    """Base of the rules that find a threshold on scores of normal clips: scores above it are called anomalous.

    Args:
        quantile: share of normal clips to be called normal.
    """

    def __init__(self, *, quantile: float = 0.9) -> None:
        self.quantile = quantile

    def __call__(self, normal: np.ndarray) -> float:
        """Threshold from the scores [N] of normal clips, N >= 1."""
        raise NotImplementedError


class Thresholds:
    """Thresholds of a run, and the held-out normal scores they come from.

    Args:
        thresholds: `<machine>/<id>` (and `all`) -> threshold.
        normal: the same -> sorted scores of the held-out normal clips.
        labels: machine IDs by number.
    """

    def __init__(
        self, thresholds: Mapping[str, float], normal: Mapping[str, Sequence[float]], labels: Sequence[str]
    ) -> None:
        self.thresholds = dict(thresholds)
        self.normal = {name: np.asarray(scores, float) for name, scores in normal.items()}
        self.labels = list(labels)

    @classmethod
    def fit(cls, rule: Threshold, scores: np.ndarray, ids: np.ndarray, labels: Sequence[str]) -> "Thresholds":
        """From scores [N] of held-out normal clips and the numbers [N] of their machine IDs."""
        groups = {POOLED: np.sort(scores)}
        for number, label in enumerate(labels):
            own = np.sort(scores[ids == number])
            if len(own) >= LEAST:
                groups[label] = own
        return cls({name: float(rule(own)) for name, own in groups.items()}, groups, labels)

    def decide(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """[N] 1: called anomalous (above the threshold of its machine ID), 0: called normal."""
        limits = np.array([self.thresholds[self._group(number)] for number in ids])
        return (np.asarray(scores) > limits).astype(int)

    def rank(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """[N] share of the held-out normal clips of its machine ID that a clip scores higher than."""
        pairs = zip(scores, ids, strict=True)
        groups = ((score, self.normal[self._group(number)]) for score, number in pairs)
        return np.array([np.searchsorted(own, score, side="left") / len(own) for score, own in groups])

    def _group(self, number: int) -> str:
        label = self.labels[number] if number >= 0 else POOLED
        return label if label in self.thresholds else POOLED

    def state(self) -> dict:
        """Plain numbers for a json file; `Thresholds(**state)` is the same again."""
        normal = {name: scores.tolist() for name, scores in self.normal.items()}
        return {"thresholds": self.thresholds, "normal": normal, "labels": self.labels}
