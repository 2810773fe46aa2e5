"""Metrics of classifiers: N clips, K classes. Labels are class numbers, probabilities are [N, K].

Precision, recall and F1 of a class are 0 where their denominator is 0; AUC is NaN ("undefined") for a class of no
clip, or of every clip.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.scoring.metrics import UNDEFINED, arithmetic_mean, auc

CALIBRATION_BINS = 15  # of confidence, as in Guo et al. (ICML 2017)


def of_classes(labels: NDArray, probability: NDArray) -> list[dict[str, float]]:
    """Compute for each class: precision, recall, F1, AUC against all other classes, number of clips."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(probability.shape[1])
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, probability.argmax(axis=1), labels=list(classes), average=None, zero_division=0
    )
    areas = [auc((labels == number).astype(int), probability[:, number]) for number in classes]
    names = ("precision", "recall", "f1", "auc", "n")
    columns = (precision, recall, f1, areas, support)
    return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]


def overall(labels: NDArray, probability: NDArray) -> dict[str, float]:
    """Compute the metrics over all classes; all are undefined without clips.

    Accuracy; balanced accuracy (mean recall of the classes that occur); precision, recall and F1 as means weighted by
    clips (`_weighted`) and unweighted (`_macro`); AUC unweighted; expected calibration error; number of clips (`n`).
    """
    classes = [values for values in of_classes(labels, probability) if values["n"]] if len(labels) else []
    values = {
        "accuracy": float((probability.argmax(axis=1) == labels).mean()) if len(labels) else UNDEFINED,
        "balanced_accuracy": arithmetic_mean([of_class["recall"] for of_class in classes]),
    }
    for name in ("precision", "recall", "f1"):
        total = sum(of_class[name] * of_class["n"] for of_class in classes)
        values[f"{name}_weighted"] = total / len(labels) if classes else UNDEFINED
        values[f"{name}_macro"] = arithmetic_mean([of_class[name] for of_class in classes])
    values["auc_macro"] = arithmetic_mean([of_class["auc"] for of_class in classes])
    values["calibration_error"] = reliability(labels, probability).error
    return values | {"n": float(len(labels))}


def confusion_matrix(labels: NDArray, probability: NDArray) -> NDArray:
    """Count clips by true class (row) and predicted class (column), [K, K]."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, probability.argmax(axis=1), labels=list(range(probability.shape[1])))


class Reliability(NamedTuple):
    """Clips binned by confidence (the highest probability), in bins of equal width over 0 to 1; empty bins are NaN.

    Attributes:
        confidence: mean of each bin.
        accuracy: share of correctly classified clips of each bin.
        clips: number in each bin.
        error: expected calibration error: mean distance of the two, weighted by clips (Naeini et al., AAAI 2015).
    """

    confidence: NDArray
    accuracy: NDArray
    clips: NDArray
    error: float


def reliability(labels: NDArray, probability: NDArray, bins: int = CALIBRATION_BINS) -> Reliability:
    """Compare confidence with accuracy: of clips classified with a confidence of .8, 80 % should be correct."""
    confidence = probability.max(axis=1, initial=0)
    correct = probability.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are open at their lower end
    clips = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        means, accuracy = (np.bincount(number, of, minlength=bins) / clips for of in (confidence, correct))
    filled = clips > 0
    gaps = np.abs(means - accuracy)[filled] * clips[filled]
    return Reliability(means, accuracy, clips, float(gaps.sum() / clips.sum()) if len(labels) else UNDEFINED)
