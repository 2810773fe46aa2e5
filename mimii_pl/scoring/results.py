"""Results of a run, one number per machine ID and metric: how they are made of scores, and `results.csv`."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimii_pl.scoring.metrics import DECIDED, METRICS, SUMMARIES, arithmetic_mean, auc, checked, of_decisions, pauc

LEVEL = "level_auc"  # AUC of the clip's level alone: not of the scores, but what they have to beat
OFFICIAL_SCORES = {  # challenge -> what its score is the mean of, per machine ID; which mean
    "dcase2020": (("auc", "pauc"), "mean"),
    "dcase2021": (("auc_source", "pauc_source", "auc_target", "pauc_target"), "hmean"),
    "dcase2022": (("auc_source", "auc_target", "pauc"), "hmean"),
}


class Result(NamedTuple):
    """One number: `metric` of a machine ID, or of a type over its IDs where `id` is `mean`, `hmean` or `min`."""

    machine: str
    id: str
    metric: str
    value: float


def per_machine_id(
    machine: Iterable[str],
    machine_id: Iterable[str],
    labels: ArrayLike,
    scores: ArrayLike,
    domain: Iterable[str] | None = None,
    official: str | None = "dcase2020",
    decisions: ArrayLike | None = None,
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
        decisions: [N] 1 called anomalous, 0 called normal; adds what `of_decisions` says.
    """
    labels, scores = checked(labels, scores)
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
            if decisions is not None:
                values |= of_decisions(labels[rows], np.asarray(decisions)[rows])
            ids += [Result(name, one, metric, value) for metric, value in values.items()]
        results += ids + _summary(name, ids) + _official(name, ids, official)
    if len(clips) > 1:
        for metric in (*METRICS, *(DECIDED if decisions is not None else ())):
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
    labels, scores = checked(labels, scores)
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
    parts, mean = OFFICIAL_SCORES.get(official, ((), ""))
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
