"""Rank finished runs: per machine type and data set, best detector first, with the uncertainty of the order."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimii_pl.core.bars import with_bar
from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import split_options
from mimii_pl.report.boards import SENSITIVITY
from mimii_pl.report.repeats import AVERAGED_COSTS, averages
from mimii_pl.report.row_names import data_names, detector_names
from mimii_pl.scoring.bootstrap import Interval, interval, resampled_auc
from mimii_pl.scoring.metrics import SUMMARIES, UNDEFINED, measures_of
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scores import ClipScore
from mimii_pl.scoring.sensitivity import Noticed

DETECTOR_OPTIONS = (  # options of the data set that belong to the detector: the test clips are the same
    "dataset.batch_size",
    "dataset.channel",
    "dataset.full_scale",
    "dataset.sample_rate",
    "dataset.seconds",
)
EARLIER_CRITERION = "pseudo_auc"  # ranks runs of earlier versions, below the others


class RecordedRun(NamedTuple):
    """A finished run.

    Attributes:
        options: choices and values by dotted key, as text.
        selection: rule by which its checkpoint was chosen.
        facts: run.json.
        noticed: sensitivity.csv; empty for runs of earlier versions.
    """

    id: str
    name: str
    options: dict[str, str]
    selection: str
    results: list[Result]
    clips: list[ClipScore]
    facts: dict[str, Any]
    noticed: Sequence[Noticed] = ()


class Entry(NamedTuple):
    """One detector over the runs that repeat it.

    Attributes:
        means: `auc`, `auc_std` and so on, of the measures of `ranking_heads` and of costs.
        per_id: machine ID -> mean AUC.
    """

    detector: str
    model: str
    backend: str
    runs: list[RecordedRun]
    means: dict[str, float]
    per_id: dict[str, float]


class Ranking(NamedTuple):
    """Detectors evaluated on one machine type of one data set under one protocol, best first.

    Attributes:
        data: name of the data set, and of the protocol unless it is the data set's own.
        shared: options that all its detectors have changed alike, which are not in their names; empty: none.
        pairs: (row, column) -> AUC of the row's detector minus that of the column's, or the reason why there is none.
    """

    machine: str
    dataset: str
    data: str
    shared: str
    entries: list[Entry]
    pairs: dict[tuple[int, int], Interval | str]

    @property
    def better(self) -> dict[int, Interval]:
        """Rows that are better than the first on the test clips beyond chance: place -> difference, largest first."""
        to_first = {place: self.pairs.get((place, 0)) for place in range(1, len(self.entries))}
        return clearly_better(to_first)


def ranking_heads() -> dict[str, str]:
    """Return name and head of the measures that a ranking shows, the criterion first."""
    return {measure.name: measure.head for measure in (SENSITIVITY, *measures_of("comparison"))}


def latest(runs: Iterable[RecordedRun]) -> tuple[list[RecordedRun], list[tuple[str, str]]]:
    """Keep the first of the runs that agree in every option, seed included; return (run, reason) of the others too."""
    kept: dict[str, RecordedRun] = {}
    superseded = []
    for run in runs:
        first = kept.setdefault(repr(split_options(run.options)), run)
        if first is not run:
            reason = f"superseded by {first.id[:8]}, a later run with the same options"
            superseded.append((f"{run.name} {run.id[:8]}", reason))
    return list(kept.values()), superseded


def rankings(runs: Sequence[RecordedRun], resamples: int, seed: int) -> list[Ranking]:
    """Rank runs by their sensitivity to faults in held-out normal clips, per data set and machine type.

    Args:
        runs: finished runs; those that differ only in seed, fold or left-out ID are one entry.
        resamples, seed: of the bootstrap.
    """
    parts = [split_by_role(run.options) for run in runs]
    data = data_names([on_data for on_data, _ in parts])
    detectors, shared = [""] * len(runs), {}
    for data_name in set(data):  # a name tells a detector from those on the same data
        rows = [row for row, other in enumerate(data) if other == data_name]
        named, shared[data_name] = detector_names([parts[row][1] for row in rows], [parts[row][0] for row in rows])
        for row, name in zip(rows, named, strict=True):
            detectors[row] = name
    listed = sorted(zip(data, detectors, runs, strict=True), key=lambda entry: entry[:2])
    groups = group_by(listed, lambda entry: (entry[0], entry[2].options["machine"]))
    ranked = []
    for (data_name, machine), group in with_bar(sorted(groups.items()), "comparing"):
        by_detector = group_by(group, lambda entry: entry[1])
        entries = [_entry(name, [run for *_, run in repeats]) for name, repeats in by_detector.items()]
        entries.sort(key=_by_criterion)
        dataset = entries[0].runs[0].options["dataset"]
        pairs = paired_differences([[run.clips for run in entry.runs] for entry in entries], resamples, seed)
        ranked.append(Ranking(machine, dataset, data_name, shared[data_name], entries, pairs))
    return ranked


def split_by_role(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split a run's options into those of the test clips and those of the detector; the machine type is neither."""
    of_clips, of_detector = {}, {}
    for key, value in split_options(options)[0].items():
        group = key.partition(".")[0]
        if group in ("dataset", "protocol") and key not in DETECTOR_OPTIONS:
            of_clips[key] = value
        elif group != "machine":
            of_detector[key] = value
    return of_clips, of_detector


def _entry(detector: str, runs: list[RecordedRun]) -> Entry:
    per_id = [_per_id(run.results) for run in runs]
    ids = dict.fromkeys(name for of_run in per_id for name in of_run)
    means = averages([_measured(run) for run in runs], (*ranking_heads(), EARLIER_CRITERION, *AVERAGED_COSTS))
    of_ids = averages(per_id, ids)
    options = runs[0].options
    return Entry(detector, options["model"], options["backend"], runs, means, {name: of_ids[name] for name in ids})


def noticed_by(entry: Entry) -> list[Noticed]:
    """Return what the runs of a detector notice, together."""
    return [noticed for run in entry.runs for noticed in run.noticed]


def _by_criterion(entry: Entry) -> tuple:
    values = (entry.means[name] for name in (SENSITIVITY.name, EARLIER_CRITERION))
    return (*(-value if math.isfinite(value) else math.inf for value in values), entry.detector)


def _measured(run: RecordedRun) -> dict[str, float]:
    """Return the measures and costs of one run, as far as they are known."""
    machines = {result.machine for result in run.results}
    overall = "all" if "all" in machines else run.results[0].machine
    means = {r.metric: r.value for r in run.results if (r.machine, r.id) == (overall, "mean")}
    facts = {name: value for name, value in run.facts.items() if isinstance(value, int | float)}
    minima = {}
    for measure in measures_of("comparison"):
        if measure.summary == "min":
            values = [r.value for r in run.results if (r.id, r.metric) == ("min", measure.metric)]
            minima[measure.name] = min(filter(math.isfinite, values), default=UNDEFINED)
    return facts | means | minima


def _per_id(results: Sequence[Result]) -> dict[str, float]:
    ids = [r for r in results if r.metric == "auc" and r.id not in SUMMARIES]
    several = len({r.machine for r in ids}) > 1
    return {f"{r.machine} {r.id}" if several else r.id: r.value for r in ids}


# --- uncertainty of the order ----------------------------------------------------------------------------------------
def paired_differences(
    scored: Sequence[Sequence[Sequence[ClipScore]]], resamples: int, seed: int, *, to_first: bool = False
) -> dict[tuple[int, int], Interval | str]:
    """Compare every two detectors whose runs scored the same clips; the AUC of a detector is the mean over its runs.

    Args:
        scored: of each detector, of each of its runs: the test clips.
        resamples, seed: of the bootstrap over clips.
        to_first: compare with the first detector only.

    Returns:
        (row, column) -> AUC of the row's detector minus that of the column's, or the reason why there is none.
    """
    by_clips: dict[tuple, list[tuple[int, list[float]]]] = {}
    for place, runs in enumerate(scored):
        for run in runs:
            clips = sorted(clip for clip in run if clip.label >= 0)
            key = tuple(clip[:5] for clip in clips)
            by_clips.setdefault(key, []).append((place, [clip.score for clip in clips]))
    samples: list[dict[tuple, NDArray]] = [{} for _ in scored]  # clips -> resampled AUC of the detector
    for key, of_runs in by_clips.items():
        machine, ids, _, _, labels = zip(*key, strict=True) if key else ((),) * 5
        places = np.array([place for place, _ in of_runs])
        auc = resampled_auc(labels, machine, ids, [scores for _, scores in of_runs], resamples, seed)
        for place in set(places):
            samples[place][key] = auc[places == place].mean(axis=0)
    rows = range(len(scored))
    columns = rows[:1] if to_first else rows
    return {(a, b): _difference(samples[a], samples[b]) for a in rows for b in columns if a != b}


def clearly_better(to_first: Mapping[int, Interval | str | None]) -> dict[int, Interval]:
    """Keep the differences whose interval lies above 0, largest first."""
    better = {place: found for place, found in to_first.items() if isinstance(found, Interval) and found.low > 0}
    return dict(sorted(better.items(), key=lambda item: -item[1].difference))


def _difference(first: dict[tuple, NDArray], second: dict[tuple, NDArray]) -> Interval | str:
    if first.keys() != second.keys():
        ours, theirs = ({clip for key in side for clip in key} for side in (first, second))
        common = len(ours & theirs)
        return f"other test clips: {len(ours)} against {len(theirs)}, {common} in common"
    difference = interval(*(np.mean([side[key] for key in first], axis=0) for side in (first, second)))
    return difference if math.isfinite(difference.difference) else "no machine ID has both classes"
