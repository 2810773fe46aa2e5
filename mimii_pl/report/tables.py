"""Results of a run as tables, for the terminal and for the report."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mimii_pl.scoring.metrics import SUMMARIES, Kind, metrics_of, summaries_of
from mimii_pl.scoring.results import Result

SUMMARY_NAMES = {"mean": "mean", "hmean": "harmonic mean", "min": "minimum"}
OFFICIAL_LABELS = {
    "official_2020": "DCASE 2020 score, mean of AUC and pAUC over IDs",
    "official_2021": "DCASE 2021 score, harmonic mean of AUC and pAUC of each domain by itself",
    "official_2022": "DCASE score since 2022, harmonic mean of AUC source, AUC target (anomalies of both) and pAUC",
}
UNDEFINED_TEXT = "undefined"


class Sheet(NamedTuple):
    """A kind of table: the columns and rows it shows.

    Attributes:
        kinds: of the metrics that it has columns for.
        optional: name -> head of metrics that only some results have.
        counts: name -> head of numbers of clips.
        counts_note: explains the counts.
        summaries: over machine IDs, a row each.
    """

    kinds: tuple[Kind, ...]
    optional: dict[str, str]
    counts: dict[str, str]
    counts_note: str
    summaries: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, str]:
        """Name and head of each metric."""
        return {metric.name: metric.head for metric in metrics_of(*self.kinds)}

    @property
    def note(self) -> str:
        """Explanation of the columns and rows."""
        notes = [f"{metric.head}: {metric.note}" for metric in metrics_of(*self.kinds) if metric.note]
        if self.counts_note:
            notes.append(self.counts_note)
        return "; ".join([*notes, "mean: arithmetic mean over IDs", "undefined values are omitted."])


RANKING = Sheet(
    kinds=("scores", "level"),
    optional={
        f"{name}_{domain}": f"{head} {domain}"
        for domain in ("source", "target")
        for name, head in (("auc", "AUC"), ("pauc", "pAUC"))
    },
    counts={"n_normal": "normal", "n_anomalous": "anomalous"},
    counts_note="",
    summaries=("mean", "hmean", "min"),
)
DECISIONS = Sheet(
    kinds=("decisions",),
    optional={},
    counts={"n_tp": "TP", "n_fn": "FN", "n_fp": "FP", "n_tn": "TN"},
    counts_note="TP: anomalies found, FN: missed, FP: false alarms, TN: normal clips called normal",
    summaries=("mean",),
)


class TableRow(NamedTuple):
    """A row as text, with a cell per column; `is_summary`: a mean or minimum over machine IDs."""

    cells: tuple[str, ...]
    is_summary: bool
    ends_section: bool


def short_names(files: Sequence[str]) -> dict[str, str]:
    """Return each file's path relative to their common folder, so that a page that is shared names no computer."""
    try:
        folder = os.path.commonpath([os.path.dirname(file) for file in files])
    except ValueError:  # no files, or absolute and relative paths
        folder = ""
    return {file: os.path.relpath(file, folder) if folder else file for file in files}


def headlines(results: Iterable[Result]) -> list[dict]:
    """Return per machine type its mean AUC, its worst machine ID, and how many IDs are defined and undefined."""
    aucs = [result for result in results if result.metric == "auc" and result.machine != "all"]
    lines = []
    for mean in (result for result in aucs if result.id == "mean"):
        ids = [r for r in aucs if r.machine == mean.machine and r.id not in SUMMARIES]
        defined = [r for r in ids if not math.isnan(r.value)]
        worst = min(defined, key=lambda r: r.value, default=mean)
        line = {"machine": mean.machine, "auc": mean.value, "worst": worst.id, "least": worst.value}
        lines.append({**line, "ids": len(defined), "undefined": len(ids) - len(defined)})
    return lines


def number(value: float) -> str:
    """Return a metric as text with three decimals and no leading zero, `.744`, `-.744`; `undefined` for NaN."""
    if math.isnan(value):
        return UNDEFINED_TEXT
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def table_columns(results: Iterable[Result], sheet: Sheet = RANKING) -> list[str]:
    """Return the heads of the table of these results."""
    return ["machine ID", *_metrics(results, sheet).values(), *sheet.counts.values()]


def _metrics(results: Iterable[Result], sheet: Sheet) -> dict[str, str]:
    present = {result.metric for result in results}
    return sheet.metrics | {name: head for name, head in sheet.optional.items() if name in present}


def table_rows(results: Iterable[Result], sheet: Sheet = RANKING) -> list[TableRow]:
    """Return the rows of the table in the order of the results: the IDs of a machine type, then its summaries.

    Empty without any of the table's metrics.
    """
    results = list(results)
    metrics = _metrics(results, sheet)
    grouped: dict[tuple[str, str], dict[str, float]] = {}
    for result in results:
        shown = result.metric in metrics or result.metric in sheet.counts
        if shown and (result.id not in SUMMARIES or result.id in sheet.summaries):
            grouped.setdefault((result.machine, result.id), {})[result.metric] = result.value
    sections = [(machine, name in SUMMARIES) for machine, name in grouped]
    return [
        TableRow(_cells(*key, grouped[key], metrics, sheet), section[1], following != section)
        for key, section, following in zip(grouped, sections, [*sections, None][1:], strict=True)
    ]


def table_note(results: Iterable[Result], caption: str = "", sheet: Sheet = RANKING) -> str:
    """Explain the numbers of a table; `caption` adds the selection rule, the seed or the origin of the threshold."""
    official = [(r.metric, f"{r.machine} {number(r.value)}") for r in results if r.metric in OFFICIAL_LABELS]
    scores = f"{OFFICIAL_LABELS[official[0][0]]}: {', '.join(text for _, text in official)}." if official else ""
    return " ".join(part for part in (sheet.note, scores if sheet is RANKING else "", caption) if part)


def results_table(results: Iterable[Result], title: str, caption: str = "", sheet: Sheet = RANKING) -> Table:
    """Return the table for the terminal: one row per machine ID, the summaries of each machine type set apart."""
    results = list(results)
    text = table_note(results, caption, sheet)
    table = Table(title=title, caption=text, box=SIMPLE_HEAD, caption_justify="left")
    for position, column in enumerate(table_columns(results, sheet)):
        table.add_column(column, justify="right" if position else "left", no_wrap=not position, overflow="fold")
    for row in table_rows(results, sheet):
        bold = "bold" if row.is_summary else None
        cells = ("-" if cell == UNDEFINED_TEXT else cell for cell in row.cells)  # the terminal may be narrow
        table.add_row(*cells, style=bold, end_section=row.ends_section)
    return table


def _cells(machine: str, name: str, values: dict[str, float], metrics: Iterable[str], sheet: Sheet) -> tuple[str, ...]:
    """Format a row; a metric that it lacks is undefined, except for those that only some results or summaries have."""
    label = "all types" if name in SUMMARIES and machine == "all" else machine
    level = [metric.name for metric in metrics_of("level")]
    cells = []
    for metric in metrics:
        summarized = name not in SUMMARIES or name in summaries_of(metric)
        expected = metric in values or (metric in sheet.metrics and metric not in level and summarized)
        cells.append(number(values.get(metric, math.nan)) if expected else "")
    counts = (f"{values[count]:.0f}" if count in values else "" for count in sheet.counts)
    return f"{label} {SUMMARY_NAMES.get(name, name)}", *cells, *counts
