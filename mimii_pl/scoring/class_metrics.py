"""How well classes are told apart: N clips, K classes. Labels are class numbers, probabilities are [N, K].

Precision, recall and F1 of a class are 0 where their denominator is 0; AUC is NaN ("undefined") for a class that no
clip, or every clip, is of.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.scoring.metrics import UNDEFINED, arithmetic_mean, auc

CALIBRATION_BINS = 15  # of confidence, as Guo et al. (ICML 2017) take


def of_classes(labels: NDArray, probability: NDArray) -> list[dict[str, float]]:
    """Of each class: precision, recall, F1, area under its ROC curve against all the others, clips."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(probability.shape[1])
    found = precision_recall_fscore_support(
        labels, probability.argmax(axis=1), labels=list(classes), average=None, zero_division=0
    )
    areas = [auc((labels == one).astype(int), probability[:, one]) for one in classes]
    names = ("precision", "recall", "f1", "auc", "n")
    return [dict(zip(names, map(float, row), strict=True)) for row in zip(*found[:3], areas, found[3], strict=True)]


def overall(labels: NDArray, probability: NDArray) -> dict[str, float]:
    """Over all classes: accuracy; balanced accuracy (mean recall of the classes that occur); precision, recall, F1 and
    AUC as means weighted by clips (`_weighted`) and unweighted (`_macro`); expected calibration error; clips.

    All undefined without clips.
    """
    classes = [one for one in of_classes(labels, probability) if one["n"]] if len(labels) else []
    values = {
        "accuracy": float((probability.argmax(axis=1) == labels).mean()) if len(labels) else UNDEFINED,
        "balanced_accuracy": arithmetic_mean([one["recall"] for one in classes]),
    }
    for name in ("precision", "recall", "f1"):
        total = sum(one[name] * one["n"] for one in classes)
        values[f"{name}_weighted"] = total / len(labels) if classes else UNDEFINED
        values[f"{name}_macro"] = arithmetic_mean([one[name] for one in classes])
    values["auc_macro"] = arithmetic_mean([one["auc"] for one in classes])
    values["calibration_error"] = reliability(labels, probability).error
    return values | {"n": float(len(labels))}


def confusion_matrix(labels: NDArray, probability: NDArray) -> NDArray:
    """Clips by what they are and what they are taken for, [K, K]."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, probability.argmax(axis=1), labels=list(range(probability.shape[1])))


class Reliability(NamedTuple):
    """Clips by confidence, the highest probability: bins of equal width over 0 to 1, empty ones NaN.

    Attributes:
        confidence: its mean in each bin.
        accuracy: share of a bin's clips that are right.
        clips: in each bin.
        error: expected calibration error: mean distance of the two, weighted by clips (Naeini et al., AAAI 2015).
    """

    confidence: NDArray
    accuracy: NDArray
    clips: NDArray
    error: float


def reliability(labels: NDArray, probability: NDArray, bins: int = CALIBRATION_BINS) -> Reliability:
    """Whether clips that are classified with a confidence of .8 are right in 80 % of the cases."""
    confidence = probability.max(axis=1, initial=0)
    right = probability.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are open at their lower end
    clips = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        means, accuracy = (np.bincount(number, of, minlength=bins) / clips for of in (confidence, right))
    heard = clips > 0
    gaps = np.abs(means - accuracy)[heard] * clips[heard]
    return Reliability(means, accuracy, clips, float(gaps.sum() / clips.sum()) if len(labels) else UNDEFINED)
