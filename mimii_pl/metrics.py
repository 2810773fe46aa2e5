"""How well scores tell anomalous from normal clips, per machine ID: higher score = more anomalous, label 1 = anomalous.

A metric is NaN ("undefined") where only one class is present. Scores enter by rank alone, so infinite ones are fine.
"""

import csv
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNDEFINED = float("nan")


class Result(NamedTuple):
    """One number: `metric` of a machine ID, or of a type over its IDs where `id` is `mean`, `hmean` or `min`."""

    machine: str
    id: str
    metric: str
    value: float


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


def roc(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
    """ROC curve from (0, 0) to (1, 1): false-positive rates and true-positive rates; two empty arrays if undefined."""
    labels, ranks = _ranked(labels, scores)
    if _one_class(labels):
        return np.empty(0), np.empty(0)
    from sklearn.metrics import roc_curve

    return roc_curve(labels, ranks)[:2]


def precision_recall_f1(labels: ArrayLike, decisions: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 of decisions (1 = called anomalous); 0 where the denominator is 0."""
    labels, decisions = _checked(labels, decisions)
    if not np.isin(decisions, (0, 1)).all():
        raise ValueError("decisions must be 0 (called normal) or 1 (called anomalous)")
    hits = float(decisions[labels == 1].sum())
    called, anomalous = float(decisions.sum()), float((labels == 1).sum())
    precision = hits / called if called else 0.0
    recall = hits / anomalous if anomalous else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0


# --- over machine IDs ------------------------------------------------------------------------------------------------
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
LEVEL = "level_auc"  # AUC of the clip's level alone: not of the scores, but what they have to beat
SUMMARIES = {"mean": arithmetic_mean, "hmean": harmonic_mean, "min": minimum}


def per_machine_id(
    machine: Iterable[str], machine_id: Iterable[str], labels: ArrayLike, scores: ArrayLike
) -> list[Result]:
    """All metrics of every machine ID, then of its machine type, then (several types only) the mean over types.

    Args:
        machine: machine type of each of the N clips, `fan`.
        machine_id: which machine of that type, `id_00`.
        labels: [N] 0 normal, 1 anomalous.
        scores: [N], higher = more anomalous.
    """
    labels, scores = _checked(labels, scores)
    clips: dict[str, dict[str, list[int]]] = {}
    for row, (name, one, _) in enumerate(zip(machine, machine_id, labels, strict=True)):
        clips.setdefault(str(name), {}).setdefault(str(one), []).append(row)
    results = []
    for name in sorted(clips):
        ids = [r for one, rows in sorted(clips[name].items()) for r in _of_one(name, one, labels[rows], scores[rows])]
        results += ids + _summary(name, ids)
    if len(clips) > 1:
        for metric in (*METRICS, "official_2020"):
            means = [r.value for r in results if r.id == "mean" and r.metric == metric]
            results.append(Result("all", "mean", metric, arithmetic_mean(means)))
    return results


def _of_one(machine: str, machine_id: str, labels: NDArray, scores: NDArray) -> list[Result]:
    values = {name: metric(labels, scores) for name, metric in METRICS.items()}
    values |= {"n_normal": float((labels == 0).sum()), "n_anomalous": float((labels == 1).sum())}
    return [Result(machine, machine_id, name, value) for name, value in values.items()]


def _summary(machine: str, ids: list[Result]) -> list[Result]:
    """Mean, harmonic mean and minimum over IDs; `official_2020` = (mean AUC + mean pAUC) / 2, DCASE 2020 task 2."""
    summary = [
        Result(machine, name, metric, over([r.value for r in ids if r.metric == metric]))
        for name, over in SUMMARIES.items()
        for metric in METRICS
    ]
    mean = {r.metric: r.value for r in summary if r.id == "mean"}
    return [*summary, Result(machine, "mean", "official_2020", (mean["auc"] + mean["pauc"]) / 2)]


# --- on disk ---------------------------------------------------------------------------------------------------------
def write_results(path: Path | str, results: Iterable[Result]) -> None:
    """Write csv (machine, id, metric, value at full precision, `nan` if undefined), whole or not at all."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Result._fields)
            writer.writerows((*result[:3], repr(float(result.value))) for result in results)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_results(path: Path | str) -> list[Result]:
    """Read what `write_results` wrote, exactly."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if set(Result._fields) - set(rows.fieldnames or ()):
            raise ValueError(f"{path}: expected the columns {', '.join(Result._fields)}, found {rows.fieldnames}")
        return [Result(row["machine"], row["id"], row["metric"], float(row["value"])) for row in rows]


# --- input -----------------------------------------------------------------------------------------------------------
def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray, NDArray]:
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
    labels, scores = _checked(labels, scores)
    return labels, np.unique(scores, return_inverse=True)[1]


def _one_class(labels: NDArray) -> bool:
    return len(np.unique(labels)) < 2


def _defined(values: ArrayLike) -> NDArray:
    values = np.asarray(values, dtype=float)
    return values[~np.isnan(values)]
