"""How well scores tell anomalous from normal clips, per machine ID: higher score = more anomalous, label 1 = anomalous.

A metric is NaN ("undefined") where only one class is present. Scores enter by rank alone, so infinite ones are fine.
"""

import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNDEFINED = float("nan")


# --- one group of clips ----------------------------------------------------------------------------------------------
def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that an anomalous clip scores above a normal one, ties counting half."""
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return UNDEFINED
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, ranks))


def pauc(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.1) -> float:
    """Partial AUC over false-positive rates up to `max_fpr`, standardised so that chance is 0.5 (McClish 1989).

    With A the area up to p = `max_fpr`, interpolated there: (1 + (A - p^2/2) / (p - p^2/2)) / 2. That is what every
    official DCASE script computes; the formula printed in the papers, A / p, has another chance level.
    """
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return UNDEFINED
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, ranks, max_fpr=max_fpr))


def pr_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: precision at every distinct score, weighted by the recall gained there; chance is the share of
    anomalous clips."""
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return UNDEFINED
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, ranks))


def pr_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Precision-recall curve, recall falling from 1 to 0: recalls and precisions; two empty arrays if undefined."""
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return np.empty(0), np.empty(0)
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, ranks)
    return recall, precision


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """ROC curve from (0, 0) to (1, 1): false-positive rates and true-positive rates; two empty arrays if undefined."""
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return np.empty(0), np.empty(0)
    from sklearn.metrics import roc_curve

    return roc_curve(labels, ranks)[:2]


# --- decisions -------------------------------------------------------------------------------------------------------
class Confusion(NamedTuple):
    """Clips by what they are and what they were called; positive means anomalous."""

    tp: int
    fn: int
    fp: int
    tn: int


def confusion(labels: ArrayLike, decisions: ArrayLike) -> Confusion:
    """Counts of decisions (1 = called anomalous)."""
    labels, decisions = checked(labels, decisions)
    if not np.isin(decisions, (0, 1)).all():
        raise ValueError("decisions must be 0 (called normal) or 1 (called anomalous)")
    called = decisions == 1
    pairs = (called & (labels == 1), ~called & (labels == 1), called & (labels == 0), ~called & (labels == 0))
    return Confusion(*(int(pair.sum()) for pair in pairs))


def precision_recall_f1(labels: ArrayLike, decisions: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 of decisions; 0 where the denominator is 0, as in the official evaluators."""
    tp, fn, fp, _ = confusion(labels, decisions)
    return _share(tp, tp + fp), _share(tp, tp + fn), _share(2 * tp, 2 * tp + fp + fn)


def of_decisions(labels: ArrayLike, decisions: ArrayLike) -> dict[str, float]:
    """What is asked of decisions, and their counts `n_tp`, `n_fn`, `n_fp`, `n_tn`.

    Undefined: precision, recall and F1 without an anomalous clip, specificity without a normal one, balanced accuracy
    (the mean of recall and specificity) without either.
    """
    counts = confusion(labels, decisions)
    anomalous, normal = counts.tp + counts.fn, counts.fp + counts.tn
    precision, recall, f1 = precision_recall_f1(labels, decisions) if anomalous else (UNDEFINED,) * 3
    specificity = counts.tn / normal if normal else UNDEFINED
    return {
        "accuracy": (counts.tp + counts.tn) / (anomalous + normal) if anomalous + normal else UNDEFINED,
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "specificity": specificity,
        **{f"n_{name}": float(count) for name, count in counts._asdict().items()},
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- over several -----------------------------------------------------------------------------------------------------
def arithmetic_mean(values: ArrayLike) -> float:
    """Mean of the defined values."""
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else UNDEFINED


def harmonic_mean(values: ArrayLike) -> float:
    """Harmonic mean of the defined values, each at least float's epsilon (as the official evaluators since 2021)."""
    defined = np.maximum(_defined(values), sys.float_info.epsilon)
    return float(len(defined) / (1 / defined).sum()) if len(defined) else UNDEFINED


def minimum(values: ArrayLike) -> float:
    """Smallest of the defined values: the machine ID served worst (mAUC)."""
    defined = _defined(values)
    return float(defined.min()) if len(defined) else UNDEFINED


METRICS = {"auc": auc, "pauc": pauc, "pr_auc": pr_auc}
DECIDED = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity")  # of decisions
SUMMARIES = {"mean": arithmetic_mean, "hmean": harmonic_mean, "min": minimum}


# --- input -----------------------------------------------------------------------------------------------------------
def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both as arrays [N]; ValueError where they are not labels 0, 1 and numbers, one of each per clip."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"one label and one score per clip: got labels {labels.shape} and scores {scores.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (anomalous)")
    if missing := int(np.isnan(scores).sum()):
        raise ValueError(f"{missing} of {len(scores)} scores are NaN: such a clip has no rank")
    return labels.astype(int), scores


def _ranked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """Labels and dense ranks: the ROC curve of the scores, without infinities."""
    labels, scores = checked(labels, scores)
    return labels, np.unique(scores, return_inverse=True)[1]


def _one_class(labels: NDArray) -> bool:
    return len(np.unique(labels)) < 2


def _defined(values: ArrayLike) -> NDArray:
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]
