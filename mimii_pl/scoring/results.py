"""Results of a run, one number per machine ID and metric: computed from scores, kept in `results.csv`."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimii_pl.core.errors import damaged
from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.scoring.metrics import (
    SUMMARIES,
    Kind,
    arithmetic_mean,
    auc,
    checked,
    compute_metrics,
    metrics_of,
    of_decisions,
    pauc,
    summaries_of,
)

OFFICIAL_SCORES = {  # challenge -> metrics per machine ID that its score is the mean of; which mean
    "dcase2020": (("auc", "pauc"), "mean"),
    "dcase2021": (("auc_source", "pauc_source", "auc_target", "pauc_target"), "hmean"),
    "dcase2022": (("auc_source", "auc_target", "pauc"), "hmean"),
}


class Result(NamedTuple):
    """One number: `metric` of a machine ID; of all IDs of a machine type where `id` is `mean`, `hmean` or `min`."""

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
    kind: Kind = "scores",
) -> list[Result]:
    """Compute all metrics of every machine ID, then of its machine type, then (several types only) over types.

    Args:
        machine: machine type of each of the N clips, `fan`.
        machine_id: machine of that type, `id_00`.
        labels: [N] 0 normal, 1 anomalous.
        scores: [N], higher = more anomalous.
        domain: `source` or `target` of each clip, or empty.
        official: challenge whose official score is added, over all machine IDs: `dcase2020` (mean of AUC and pAUC),
            `dcase2021` (harmonic mean of AUC and pAUC of each domain by itself) or `dcase2022` (since that year:
            harmonic mean of the AUC of each domain, see `of_domains`, and the pAUC). None: no official score.
        decisions: [N] 1 called anomalous, 0 called normal; adds the metrics of `of_decisions`.
        kind: what `scores` are. Of levels only the metrics of that kind are computed, without counts and domains.
    """
    labels, scores = checked(labels, scores)
    domains = np.array([""] * len(labels) if domain is None else list(domain))
    clips: dict[str, dict[str, list[int]]] = {}
    for row, (type_name, id_name, _) in enumerate(zip(machine, machine_id, labels, strict=True)):
        clips.setdefault(str(type_name), {}).setdefault(str(id_name), []).append(row)
    results = []
    for type_name in sorted(clips):
        ids = []
        for id_name, rows in sorted(clips[type_name].items()):
            if kind == "scores":
                values = _of_scores(labels[rows], scores[rows], domains[rows], official)
            else:
                values = compute_metrics(kind, labels[rows], scores[rows])
            if decisions is not None:
                values |= of_decisions(labels[rows], np.asarray(decisions)[rows])
            ids += [Result(type_name, id_name, metric, value) for metric, value in values.items()]
        results += ids + _summary(type_name, ids) + _official(type_name, ids, official)
    if len(clips) > 1:
        kinds: tuple[Kind, ...] = (kind,) if decisions is None else (kind, "decisions")
        for metric in metrics_of(*kinds):
            means = [r.value for r in results if r.id == "mean" and r.metric == metric.name]
            results.append(Result("all", "mean", metric.name, arithmetic_mean(means)))
        results += _official("all", results, official)
    return results


def of_domains(labels: ArrayLike, scores: ArrayLike, domains: ArrayLike, *, own: bool = False) -> dict[str, float]:
    """Compute the AUC of each domain of one machine ID; empty where the clips have no domains.

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


def _of_scores(labels: NDArray, scores: NDArray, domains: NDArray, official: str | None) -> dict[str, float]:
    counts = {"n_normal": float((labels == 0).sum()), "n_anomalous": float((labels == 1).sum())}
    of_domain = of_domains(labels, scores, domains, own=official == "dcase2021")
    return compute_metrics("scores", labels, scores) | counts | of_domain


def _summary(machine: str, ids: list[Result]) -> list[Result]:
    """Compute mean, harmonic mean and minimum over machine IDs; no harmonic mean of a metric that can be negative."""
    values: dict[str, list[float]] = {}
    for r in ids:
        values.setdefault(r.metric, []).append(r.value)
    kept = {metric: of_ids for metric, of_ids in values.items() if not metric.startswith("n_")}
    return [
        Result(machine, name, metric, over(of_ids))
        for name, over in SUMMARIES.items()
        for metric, of_ids in kept.items()
        if name in summaries_of(metric)
    ]


def _official(machine: str, results: list[Result], official: str | None) -> list[Result]:
    """Compute `official_<year>` over the machine IDs; empty where the clips lack the domains it is made of."""
    if official not in OFFICIAL_SCORES:
        return []
    parts, mean = OFFICIAL_SCORES[official]
    of_ids = [r for r in results if r.id not in SUMMARIES and r.metric in parts]
    if {r.metric for r in of_ids} != set(parts):
        return []
    values = [r.value for r in of_ids]
    if mean == "mean":  # over IDs, then over types, which may have different numbers of IDs
        types = {r.machine for r in of_ids}
        values = [arithmetic_mean([r.value for r in of_ids if r.machine == type_name]) for type_name in types]
    return [Result(machine, mean, official.replace("dcase", "official_"), SUMMARIES[mean](values))]


# --- on disk ---------------------------------------------------------------------------------------------------------
def write_results(path: Path | str, results: Iterable[Result]) -> None:
    """Write csv (machine, id, metric, value at full precision, `nan` if undefined) atomically."""
    write_csv(Path(path), Result._fields, ((*result[:3], repr(float(result.value))) for result in results))


def read_results(path: Path | str) -> list[Result]:
    """Read the file of `write_results`; values are exactly those written."""
    with damaged(Path(path)):
        rows = stored_rows(Path(path), Result._fields)
        return [Result(row["machine"], row["id"], row["metric"], float(row["value"])) for row in rows]
