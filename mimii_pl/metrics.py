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
OFFICIAL = {  # challenge -> what its score is the mean of, per machine ID; which mean
    "dcase2020": (("auc", "pauc"), "mean"),
    "dcase2021": (("auc_source", "pauc_source", "auc_target", "pauc_target"), "hmean"),
    "dcase2022": (("auc_source", "auc_target", "pauc"), "hmean"),
}


def per_machine_id(
    machine: Iterable[str],
    machine_id: Iterable[str],
    labels: ArrayLike,
    scores: ArrayLike,
    domain: Iterable[str] | None = None,
    official: str | None = "dcase2020",
) -> list[Result]:
    """All metrics of every machine ID, then of its machine type, then (several types only) over types.

    Args:
        machine: machine type of each of the N clips, `fan`.
        machine_id: which machine of that type, `id_00`.
        labels: [N] 0 normal, 1 anomalous.
        scores: [N], higher = more anomalous.
        domain: `source` or `target` of each clip, or empty.
        official: challenge whose official score is added, over all machine IDs: `dcase2020` (mean of AUC and pAUC),
            `dcase2021` (harmonic mean of AUC and pAUC of each domain by itself) or `dcase2022` (that year's and later
            ones': harmonic mean of the AUC of each domain, see `of_domains`, and the pAUC). None: of none.
    """
    labels, scores = _checked(labels, scores)
    domains = np.array([""] * len(labels) if domain is None else list(domain))
    clips: dict[str, dict[str, list[int]]] = {}
    for row, (name, one, _) in enumerate(zip(machine, machine_id, labels, strict=True)):
        clips.setdefault(str(name), {}).setdefault(str(one), []).append(row)
    results = []
    for name in sorted(clips):
        ids = []
        for one, rows in sorted(clips[name].items()):
            of_domain = of_domains(labels[rows], scores[rows], domains[rows], own=official == "dcase2021")
            values = _of_one(labels[rows], scores[rows]) | of_domain
            ids += [Result(name, one, metric, value) for metric, value in values.items()]
        results += ids + _summary(name, ids) + _official(name, ids, official)
    if len(clips) > 1:
        for metric in METRICS:
            means = [r.value for r in results if r.id == "mean" and r.metric == metric]
            results.append(Result("all", "mean", metric, arithmetic_mean(means)))
        results += _official("all", results, official)
    return results


def of_domains(labels: ArrayLike, scores: ArrayLike, domains: ArrayLike, *, own: bool = False) -> dict[str, float]:
    """AUC per domain of one machine ID; empty where the clips have no domains.

    Args:
        domains: [N] `source`, `target` or empty.
        own: True: a domain's normal clips against its own anomalies, AUC and pAUC (2021). False: against the anomalies
            of both domains, AUC only (since 2022).
    """
    labels, scores = _checked(labels, scores)
    domains = np.asarray(domains)
    values = {}
    for domain in sorted(set(domains) - {""}):
        rows = (domains == domain) if own else (domains == domain) | (labels == 1)
        values[f"auc_{domain}"] = auc(labels[rows], scores[rows])
        if own:
            values[f"pauc_{domain}"] = pauc(labels[rows], scores[rows])
    return values


def _of_one(labels: NDArray, scores: NDArray) -> dict[str, float]:
    values = {name: metric(labels, scores) for name, metric in METRICS.items()}
    return values | {"n_normal": float((labels == 0).sum()), "n_anomalous": float((labels == 1).sum())}


def _summary(machine: str, ids: list[Result]) -> list[Result]:
    """Mean, harmonic mean and minimum over IDs."""
    values: dict[str, list[float]] = {}
    for r in ids:
        values.setdefault(r.metric, []).append(r.value)
    kept = {metric: of_ids for metric, of_ids in values.items() if not metric.startswith("n_")}
    return [Result(machine, name, metric, over(x)) for name, over in SUMMARIES.items() for metric, x in kept.items()]


def _official(machine: str, results: list[Result], official: str | None) -> list[Result]:
    """`official_<year>` over the machine IDs; nothing where the clips do not have the domains it is made of."""
    parts, mean = OFFICIAL.get(official, ((), ""))
    of_ids = [r for r in results if r.id not in SUMMARIES and r.metric in parts]
    if not parts or {r.metric for r in of_ids} != set(parts):
        return []
    values = [r.value for r in of_ids]
    if mean == "mean":  # over IDs, then types, which may have unequally many of them
        types = {r.machine for r in of_ids}
        values = [arithmetic_mean([r.value for r in of_ids if r.machine == one]) for one in types]
    return [Result(machine, mean, official.replace("dcase", "official_"), SUMMARIES[mean](values))]


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
