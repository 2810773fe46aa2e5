"""Finished runs as rankings: one per machine type and data set, best detector first, and how sure the order is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.core.options import differences, split_options
from mimii_pl.report.repeats import AVERAGED_COSTS, averages
from mimii_pl.scoring.bootstrap import Interval, interval, resampled_auc
from mimii_pl.scoring.metrics import SUMMARIES, UNDEFINED
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scores import ClipScore

RANKING_MEASURES = ("pseudo_auc", "auc", "pauc", "pr_auc", "min_auc")
OF_DETECTOR = ("dataset.batch_size", "dataset.channel", "dataset.sample_rate", "dataset.seconds")  # not of the clips


class RecordedRun(NamedTuple):
    """A finished run.

    `options`: choices and values by dotted key, as text. `selection`: how its checkpoint was chosen. `facts`: run.json.
    """

    id: str
    name: str
    options: dict[str, str]
    selection: str
    results: list[Result]
    clips: list[ClipScore]
    facts: dict[str, Any]


class Entry(NamedTuple):
    """One detector over the runs that repeat it.

    `means`: `auc` and `auc_std` and so on, of MEASURES and COST. `per_id`: machine ID -> mean AUC.
    """

    detector: str
    model: str
    backend: str
    runs: list[RecordedRun]
    means: dict[str, float]
    per_id: dict[str, float]


class Ranking(NamedTuple):
    """Detectors that were judged on one machine type of one data set by one protocol, best first.

    `pairs`: (row, column) -> AUC of the row's detector minus that of the column's, or the words why there is none.
    """

    machine: str
    dataset: str
    data: str
    entries: list[Entry]
    pairs: dict[tuple[int, int], Interval | str]


def latest(runs: Iterable[RecordedRun]) -> tuple[list[RecordedRun], list[tuple[str, str]]]:
    """Of runs that agree in every option, seed included, the first; and (run, reason) of the others."""
    kept: dict[str, RecordedRun] = {}
    again = []
    for run in runs:
        first = kept.setdefault(repr(split_options(run.options)), run)
        if first is not run:
            again.append((f"{run.name} {run.id[:8]}", f"run again since, with the same options, as {first.id[:8]}"))
    return list(kept.values()), again


def rankings(runs: Sequence[RecordedRun], resamples: int, seed: int) -> list[Ranking]:
    """Rankings by the honest criterion, the AUC of pseudo-anomalies on held-out normal clips, by data and machine.

    Args:
        runs: finished runs; those that differ in seed, fold or ID left out alone are one entry.
        resamples, seed: of the bootstrap.
    """
    from rich.progress import track

    parts = [_parted(run.options) for run in runs]
    data = _named([world for world, _ in parts], ("dataset", "protocol"), "official")
    detectors = [""] * len(runs)
    for where in set(data):  # told apart from those they stand beside
        rows = [row for row, other in enumerate(data) if other == where]
        names = _named([parts[row][1] for row in rows], ("model", "backend"), "none")
        for row, name in zip(rows, names, strict=True):
            detectors[row] = name
    groups: dict[tuple[str, str], dict[str, list[RecordedRun]]] = {}
    for run, where, what in sorted(zip(runs, data, detectors, strict=True), key=lambda one: one[1:]):
        groups.setdefault((where, run.options["machine"]), {}).setdefault(what, []).append(run)
    found = []
    for (where, machine), of_detector in track(sorted(groups.items()), "comparing", transient=True):
        entries = sorted((_entry(name, runs) for name, runs in of_detector.items()), key=_honest)
        dataset = entries[0].runs[0].options["dataset"]
        found.append(Ranking(machine, dataset, where, entries, _pairs(entries, resamples, seed)))
    return found


def _parted(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a run was judged on, and what was judged."""
    sides: tuple[dict, dict] = ({}, {})
    for key, value in split_options(options)[0].items():
        group = key.partition(".")[0]
        if group != "machine":
            sides[group not in ("dataset", "protocol") or key in OF_DETECTOR][key] = value
    return sides


def _named(configs: Sequence[Mapping[str, str]], choices: tuple[str, str], unsaid: str) -> list[str]:
    """A name per configuration: its two choices (the second unless it is `unsaid`) and what tells it from its peers."""
    names = [""] * len(configs)
    kinds = [tuple(config.get(choice, "") for choice in choices) for config in configs]
    for kind in set(kinds):
        rows = [row for row, other in enumerate(kinds) if other == kind]
        head = " + ".join(part for part in kind if part not in ("", unsaid))
        for row, options in zip(rows, differences([configs[row] for row in rows]), strict=True):
            names[row] = f"{head} {options}".strip()
    return names


def _entry(detector: str, runs: list[RecordedRun]) -> Entry:
    per_id = [_per_id(run.results) for run in runs]
    ids = dict.fromkeys(name for one in per_id for name in one)
    means = averages([_measured(run) for run in runs], (*RANKING_MEASURES, *AVERAGED_COSTS))
    of_ids = averages(per_id, ids)
    options = runs[0].options
    return Entry(detector, options["model"], options["backend"], runs, means, {name: of_ids[name] for name in ids})


def _honest(entry: Entry) -> tuple[float, str]:
    value = entry.means["pseudo_auc"]
    return (-value if math.isfinite(value) else math.inf, entry.detector)


def _measured(run: RecordedRun) -> dict[str, float]:
    """MEASURES and COST of one run, as far as they are known."""
    machines = {result.machine for result in run.results}
    overall = "all" if "all" in machines else run.results[0].machine
    mean = {r.metric: r.value for r in run.results if (r.machine, r.id) == (overall, "mean")}
    least = [r.value for r in run.results if (r.id, r.metric) == ("min", "auc") and math.isfinite(r.value)]
    facts = {name: value for name, value in run.facts.items() if isinstance(value, int | float)}
    return facts | mean | {"min_auc": min(least, default=UNDEFINED)}


def _per_id(results: Sequence[Result]) -> dict[str, float]:
    ids = [r for r in results if r.metric == "auc" and r.id not in SUMMARIES]
    many = len({r.machine for r in ids}) > 1
    return {f"{r.machine} {r.id}" if many else r.id: r.value for r in ids}


# --- how sure the order is -------------------------------------------------------------------------------------------
def _pairs(entries: Sequence[Entry], resamples: int, seed: int) -> dict[tuple[int, int], Interval | str]:
    """A detector's AUC is the mean over its runs; two are compared where their runs scored the very same clips."""
    by_clips: dict[tuple, list[tuple[int, list[float]]]] = {}
    for number, entry in enumerate(entries):
        for run in entry.runs:
            clips = sorted(clip for clip in run.clips if clip.label >= 0)
            key = tuple(clip[:5] for clip in clips)
            by_clips.setdefault(key, []).append((number, [clip.score for clip in clips]))
    scored: list[dict[tuple, NDArray]] = [{} for _ in entries]
    for key, of_runs in by_clips.items():
        machine, ids, _, _, labels = zip(*key, strict=True) if key else ((),) * 5
        numbers = np.array([number for number, _ in of_runs])
        auc = resampled_auc(labels, machine, ids, [scores for _, scores in of_runs], resamples, seed)
        for number in set(numbers):
            scored[number][key] = auc[numbers == number].mean(axis=0)
    rows = range(len(entries))
    return {(a, b): _compared(scored[a], scored[b]) for a in rows for b in rows if a != b}


def _compared(one: dict[tuple, NDArray], other: dict[tuple, NDArray]) -> Interval | str:
    if one.keys() != other.keys():
        ours, theirs = ({clip for key in side for clip in key} for side in (one, other))
        common = len(ours & theirs)
        return f"other test clips: {len(ours)} against {len(theirs)}, {common} in common"
    found = interval(*(np.mean([side[key] for key in one], axis=0) for side in (one, other)))
    return found if math.isfinite(found.difference) else "no machine ID has both classes"
