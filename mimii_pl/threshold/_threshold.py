"""The base of the rules, and the thresholds of a run: one per machine ID."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import write_text
from mimii_pl.core.foreign import printable
from mimii_pl.threshold._false_alarms import FalseAlarms, p_values

_T = TypeVar("_T")
log = logging.getLogger(__name__)
POOLED = "all"  # every machine ID together: for IDs with too few held-out clips, and machines unseen in training
IDS_NAMED = 3  # machine IDs in a message
MIN_OWN_CLIPS = 5  # held-out clips an ID needs for a threshold of its own


class Threshold:
    """Base of the rules that choose a threshold: scores above it are called anomalous.

    Args:
        quantile: share of normal clips to be called normal.
    """

    guarantees = False  # True: it promises that at most a share 1 - quantile of new normal clips is above
    oracle = False  # True: chosen with labelled anomalies, and every table of its decisions says so

    def __init__(self, *, quantile: float = 0.9) -> None:
        if not 0 <= quantile <= 1:
            raise InputError(f"threshold.quantile={quantile}: a share of clips is between 0 and 1")
        self.quantile = quantile

    def __call__(self, normal: np.ndarray) -> float:
        """Choose the threshold from the scores [N] of held-out normal clips, N >= 1."""
        raise NotImplementedError

    def of_labelled(self, scores: np.ndarray, anomalous: np.ndarray) -> float:
        """Choose an oracle's threshold from scores [M] of clips and their labels [M] (0, 1; both occur)."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """Source of the threshold, as tables print it."""
        return f"{type(self).__name__.lower()} {self.quantile:g} of held-out normal clips"


class Thresholds:
    """Thresholds of a run, and the held-out normal scores they come from.

    Args:
        normal: `<machine>/<id>` (and `all`) -> sorted scores of the held-out normal clips.
        labels: machine IDs by number.
        thresholds: `<machine>/<id>` (and `all`) -> threshold; empty before `choose`.
        origin: rule they were chosen by.
    """

    def __init__(
        self,
        normal: Mapping[str, Sequence[float] | np.ndarray],
        labels: Sequence[str],
        thresholds: Mapping[str, float] | None = None,
        origin: str = "",
    ) -> None:
        self.normal = {name: np.asarray(scores, float) for name, scores in normal.items()}
        self.labels, self.thresholds, self.origin = list(labels), dict(thresholds or {}), origin

    @classmethod
    def hold(cls, scores: np.ndarray, ids: np.ndarray, labels: Sequence[str]) -> "Thresholds":
        """Store scores [N] of held-out normal clips by machine ID number [N]; thresholds are chosen later."""
        normal = {POOLED: np.sort(scores)}
        for number, label in enumerate(labels):
            own = np.sort(scores[ids == number])
            if len(own) >= MIN_OWN_CLIPS:
                normal[label] = own
        return cls(normal, labels)

    @classmethod
    def read(cls, path: Path, labels: Sequence[str] | None = None) -> "Thresholds":
        """Read the file that `write` wrote.

        Args:
            labels: machine IDs of the run; None: those of the file.

        Raises:
            InputError: it is missing, damaged or of another run, or a score or threshold is not a finite number.
        """
        with damaged(path):
            return cls._restored(json.loads(path.read_text(encoding="utf-8")), labels)

    def write(self, path: Path) -> None:
        """Write thresholds and scores as JSON."""
        write_text(path, json.dumps(self.state_dict()))

    @classmethod
    def _restored(cls, state: Mapping[str, Any], labels: Sequence[str] | None) -> "Thresholds":
        restored = cls(**state)
        if labels is not None and restored.labels != list(labels):
            raise ValueError("its machine IDs are not those of run.json")
        for name, scores in restored.normal.items():
            if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
                raise ValueError(f"the held-out scores of {name} are not finite numbers in ascending order")
        for name, value in restored.thresholds.items():
            if not isinstance(value, float) or not math.isfinite(value):
                raise ValueError(f"the threshold of {name} is {value}")
        if not isinstance(restored.origin, str) or not restored.origin.isprintable():
            raise ValueError("its origin is no line of text")
        if POOLED not in restored.normal or POOLED not in restored.thresholds:
            raise ValueError(f"it has nothing for {POOLED}, the pool of all machine IDs")
        return restored

    def choose(self, rule: Threshold, labelled: Sequence[np.ndarray] = ()) -> "Thresholds":
        """Choose a threshold per machine ID.

        Args:
            rule: how to choose; an oracle falls back to held-out normal clips where it lacks one of the two classes.
            labelled: for an oracle: scores, ID numbers and labels (0, 1) of clips, each [M].
        """
        chosen = {}
        for name in (POOLED, *self.labels):
            scores, anomalous = self._own(name, *labelled) if rule.oracle and labelled else ((), ())
            if len(np.unique(anomalous)) == 2:
                chosen[name] = float(rule.of_labelled(scores, anomalous))
            elif name in self.normal:
                chosen[name] = float(rule(self.normal[name]))
                if rule.oracle:
                    log.warning("%s lacks labelled clips of both classes: held-out normal clips are used instead", name)
        self.thresholds, self.origin = chosen, rule.origin
        if rule.guarantees:
            self.origin += self._shortfall(1 - rule.quantile)
        return self

    def _shortfall(self, share: float) -> str:
        """Tell which thresholds cannot promise that at most a share of new normal clips is above; empty if all can."""
        names = [name for name in self.labels if name in self.normal]
        if len(names) < len(self.labels):
            names.append(POOLED)
        fewer = {name: rate for name in names if (rate := self.false_alarms(name).rate) > share * (1 + 1e-9)}
        if not fewer:
            return ""
        listed = [
            f"{len(self.normal[name])} of {printable(name)} can promise one in {1 / rate:.3g}"
            for name, rate in list(fewer.items())[:IDS_NAMED]
        ]
        listed += [f"{len(fewer) - IDS_NAMED} more can promise less too"] if len(fewer) > IDS_NAMED else []
        told = "; ".join(listed)
        if share > 0:
            log.warning(
                "thresholds promise at most one false alarm in %.4g normal clips, which takes %d held-out ones of a "
                "machine ID: %s. More recordings, or a lower threshold.quantile",
                1 / share,
                math.ceil(round(1 / share, 6)) - 1,
                told,
            )
        return f", too few to promise it: {told}"

    def _own(self, name: str, scores: np.ndarray, ids: np.ndarray, anomalous: np.ndarray) -> tuple:
        rows = slice(None) if name == POOLED else ids == self.labels.index(name)
        return scores[rows], anomalous[rows]

    def decide(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Decide for each clip, [N]: 1 anomalous (above the threshold of its machine ID), 0 normal."""
        limits = np.array([_or_pooled(self.thresholds, self._name(number)) for number in ids])
        return (np.asarray(scores) > limits).astype(int)

    def rank(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Compute the share of the held-out normal clips of the same machine ID that each clip outscores, [N]."""
        pairs = zip(scores, ids, strict=True)
        groups = ((score, _or_pooled(self.normal, self._name(number))) for score, number in pairs)
        return np.array([np.searchsorted(own, score, side="left") / len(own) for score, own in groups])

    def p_value(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Compute the finite-sample p-value of each clip among the held-out normal clips of its machine ID, [N]."""
        groups = (_or_pooled(self.normal, self._name(number)) for number in ids)
        return np.array([float(p_values(own, score)) for own, score in zip(groups, scores, strict=True)])

    def false_alarms(self, label: str) -> FalseAlarms:
        """Count the held-out normal scores above the threshold of a machine ID; of all IDs where it has no own ones."""
        own = _or_pooled(self.normal, label)
        return FalseAlarms(int((own > self.of(label)).sum()), len(own))

    def number(self, label: str) -> int:
        """Return the number of a machine ID; -1 for one not seen in training."""
        return self.labels.index(label) if label in self.labels else -1

    def of(self, label: str) -> float:
        """Return the threshold of a machine ID; the pooled one where it has none of its own."""
        return _or_pooled(self.thresholds, label)

    def normal_of(self, label: str) -> np.ndarray:
        """Return the sorted scores of the held-out normal clips of a machine ID; the pooled ones where it has none."""
        return _or_pooled(self.normal, label)

    def _name(self, number: int) -> str:
        return self.labels[number] if number >= 0 else POOLED

    def state_dict(self) -> dict:
        """Return plain numbers for a JSON file; `Thresholds(**state_dict)` restores the object."""
        normal = {name: scores.tolist() for name, scores in self.normal.items()}
        return {"thresholds": self.thresholds, "normal": normal, "labels": self.labels, "origin": self.origin}


def _or_pooled(groups: Mapping[str, _T], name: str) -> _T:
    return groups.get(name, groups[POOLED])
