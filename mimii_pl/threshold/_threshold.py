"""What thresholds share, and the thresholds of a run: one per machine ID."""

import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar("T")
log = logging.getLogger(__name__)
POOLED = "all"  # every machine ID together: for IDs with too few held-out clips, and machines never heard
MIN_OWN_CLIPS = 5  # held-out clips an ID needs for a threshold of its own


class Threshold:
    """Base of the rules that find a threshold: scores above it are called anomalous.

    Args:
        quantile: share of normal clips to be called normal.
    """

    oracle = False  # whether it is chosen with labelled anomalies: every table of its decisions says so

    def __init__(self, *, quantile: float = 0.9) -> None:
        self.quantile = quantile

    def __call__(self, normal: np.ndarray) -> float:
        """Threshold from the scores [N] of held-out normal clips, N >= 1."""
        raise NotImplementedError

    def of_labelled(self, scores: np.ndarray, anomalous: np.ndarray) -> float:
        """An oracle's threshold from scores [M] of clips whose labels [M] (0, 1; both there) are known."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """Where the threshold comes from, in the words of the tables."""
        return f"{type(self).__name__.lower()} {self.quantile:g} of held-out normal clips"


class Thresholds:
    """Thresholds of a run, and the held-out normal scores they come from.

    Args:
        normal: `<machine>/<id>` (and `all`) -> sorted scores of the held-out normal clips.
        labels: machine IDs by number.
        thresholds: such names -> threshold; empty before `choose`.
        origin: which rule they were chosen by.
    """

    def __init__(
        self,
        normal: Mapping[str, Sequence[float]],
        labels: Sequence[str],
        thresholds: Mapping[str, float] | None = None,
        origin: str = "",
    ) -> None:
        self.normal = {name: np.asarray(scores, float) for name, scores in normal.items()}
        self.labels, self.thresholds, self.origin = list(labels), dict(thresholds or {}), origin

    @classmethod
    def hold(cls, scores: np.ndarray, ids: np.ndarray, labels: Sequence[str]) -> "Thresholds":
        """From scores [N] of held-out normal clips and the numbers [N] of their machine IDs; nothing chosen yet."""
        own = {label: np.sort(scores[ids == number]) for number, label in enumerate(labels)}
        return cls(
            {POOLED: np.sort(scores)} | {label: one for label, one in own.items() if len(one) >= MIN_OWN_CLIPS}, labels
        )

    def choose(self, rule: Threshold, labelled: Sequence[np.ndarray] = ()) -> "Thresholds":
        """Find the thresholds by a rule.

        Args:
            rule: one per machine ID; an oracle falls back to held-out normal clips where it has not both classes.
            labelled: for an oracle: scores, ID numbers and labels (0, 1) of clips, each [M].
        """
        found = {}
        for name in (POOLED, *self.labels):
            scores, anomalous = self._own(name, *labelled) if rule.oracle and labelled else ((), ())
            if len(np.unique(anomalous)) == 2:
                found[name] = float(rule.of_labelled(scores, anomalous))
            elif name in self.normal:
                found[name] = float(rule(self.normal[name]))
                if rule.oracle:
                    log.warning("%s has not both classes to choose by: held-out normal clips stand in", name)
        self.thresholds, self.origin = found, rule.origin
        return self

    def _own(self, name: str, scores: np.ndarray, ids: np.ndarray, anomalous: np.ndarray) -> tuple:
        rows = slice(None) if name == POOLED else ids == self.labels.index(name)
        return scores[rows], anomalous[rows]

    def decide(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """[N] 1: called anomalous (above the threshold of its machine ID), 0: called normal."""
        limits = np.array([_or_pooled(self.thresholds, self._name(number)) for number in ids])
        return (np.asarray(scores) > limits).astype(int)

    def rank(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """[N] share of the held-out normal clips of its machine ID that a clip scores higher than."""
        pairs = zip(scores, ids, strict=True)
        groups = ((score, _or_pooled(self.normal, self._name(number))) for score, number in pairs)
        return np.array([np.searchsorted(own, score, side="left") / len(own) for score, own in groups])

    def number(self, label: str) -> int:
        """Number of a machine ID by name; -1 for one never heard in training."""
        return self.labels.index(label) if label in self.labels else -1

    def of(self, label: str) -> float:
        """Threshold of a machine ID by name; that of all together where it has none of its own."""
        return _or_pooled(self.thresholds, label)

    def _name(self, number: int) -> str:
        return self.labels[number] if number >= 0 else POOLED

    def state_dict(self) -> dict:
        """Plain numbers for a json file; `Thresholds(**state_dict)` is the same again."""
        normal = {name: scores.tolist() for name, scores in self.normal.items()}
        return {"thresholds": self.thresholds, "normal": normal, "labels": self.labels, "origin": self.origin}


def _or_pooled(groups: Mapping[str, _T], name: str) -> _T:
    return groups.get(name, groups[POOLED])
