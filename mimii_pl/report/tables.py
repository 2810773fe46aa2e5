"""Results as tables: on the terminal, in markdown and (through `rows`) in the report; the scores behind it."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mimii_pl.scoring.metrics import SUMMARIES
from mimii_pl.scoring.results import LEVEL, Result

SUMMARY_NAMES = {"mean": "mean", "hmean": "harmonic mean", "min": "minimum"}
OFFICIAL_LABELS = {
    "official_2020": "DCASE 2020 score, mean of AUC and pAUC over IDs",
    "official_2021": "DCASE 2021 score, harmonic mean of AUC and pAUC of each domain by itself",
    "official_2022": "DCASE score since 2022, harmonic mean of AUC source, AUC target (anomalies of both) and pAUC",
}
UNDEFINED_TEXT = "undefined"


class Sheet(NamedTuple):
    """What a table shows: heads of metrics, of those only some results have, of counts; which summaries; its note."""

    metrics: dict[str, str]
    optional: dict[str, str]
    counts: dict[str, str]
    summaries: tuple[str, ...]
    note: str


RANKING = Sheet(
    metrics={"auc": "AUC", "pauc": "pAUC", "pr_auc": "PR-AUC", LEVEL: "level"},
    optional={
        f"{name}_{domain}": f"{head} {domain}"
        for domain in ("source", "target")
        for name, head in (("auc", "AUC"), ("pauc", "pAUC"))
    },
    counts={"n_normal": "normal", "n_anomalous": "anomalous"},
    summaries=("mean", "hmean", "min"),
    note="pAUC: false-positive rate up to .1, chance .5; level: AUC of the clip's level alone, to be beaten; "
    "mean: arithmetic mean over IDs; undefined values are left out.",
)
DECISIONS = Sheet(
    metrics={
        "accuracy": "acc.", "balanced_accuracy": "bal.", "precision": "prec.", "recall": "rec.",
        "f1": "F1", "specificity": "spec.",
    },
    optional={},
    counts={"n_tp": "TP", "n_fn": "FN", "n_fp": "FP", "n_tn": "TN"},
    summaries=("mean",),
    note="acc.: accuracy; bal.: balanced accuracy, the mean of recall and specificity; prec.: precision; TP: anomalies "
    "found, FN: missed, FP: false alarms, TN: normal clips called normal; mean: arithmetic mean over IDs; "
    "undefined values are left out.",
)  # fmt: skip


class TableRow(NamedTuple):
    """One line of the table as text; the cells follow `columns`. `is_summary`: over machine IDs, not of one."""

    cells: tuple[str, ...]
    is_summary: bool
    ends_section: bool


def short_names(files: Sequence[str]) -> dict[str, str]:
    """Each file relative to the deepest folder that holds them all: whose computer it was is nobody's business."""
    try:
        folder = os.path.commonpath([os.path.dirname(file) for file in files])
    except ValueError:  # no files, or absolute and relative paths
        folder = ""
    return {file: os.path.relpath(file, folder) if folder else file for file in files}


def headlines(results: Iterable[Result]) -> list[dict]:
    """Per machine type: mean AUC, and the machine ID served worst."""
    aucs = [result for result in results if result.metric == "auc" and result.machine != "all"]
    lines = []
    for mean in (result for result in aucs if result.id == "mean"):
        ids = [r for r in aucs if r.machine == mean.machine and r.id not in SUMMARIES]
        defined = [r for r in ids if not math.isnan(r.value)]
        worst = min(defined, key=lambda r: r.value, default=mean)
        lines.append({"machine": mean.machine, "auc": mean.value, "worst": worst.id, "least": worst.value,
                      "ids": len(defined), "undefined": len(ids) - len(defined)})  # fmt: skip
    return lines


def number(value: float) -> str:
    """A metric with three decimals and no leading zero, `.744`; `undefined` for NaN."""
    return UNDEFINED_TEXT if math.isnan(value) else f"{value:.3f}".removeprefix("0")


def table_columns(results: Iterable[Result], sheet: Sheet = RANKING) -> list[str]:
    """Heads of the table that these results fill."""
    return ["machine ID", *_metrics(results, sheet).values(), *sheet.counts.values()]


def _metrics(results: Iterable[Result], sheet: Sheet) -> dict[str, str]:
    found = {result.metric for result in results}
    return sheet.metrics | {name: head for name, head in sheet.optional.items() if name in found}


def table_rows(results: Iterable[Result], sheet: Sheet = RANKING) -> list[TableRow]:
    """Lines of the table in the order of the results: the IDs of a machine type, then its summary; none without any of
    the table's metrics."""
    results = list(results)
    metrics = _metrics(results, sheet)
    grouped: dict[tuple[str, str], dict[str, float]] = {}
    for result in results:
        shown = result.metric in metrics or result.metric in sheet.counts
        if shown and (result.id not in SUMMARIES or result.id in sheet.summaries):
            grouped.setdefault((result.machine, result.id), {})[result.metric] = result.value
    kinds = [(machine, name in SUMMARIES) for machine, name in grouped]
    return [
        TableRow(_cells(*key, grouped[key], metrics, sheet), kind[1], following != kind)
        for key, kind, following in zip(grouped, kinds, [*kinds, None][1:], strict=True)
    ]


def table_note(results: Iterable[Result], caption: str = "", sheet: Sheet = RANKING) -> str:
    """What the numbers are; `caption` adds what the caller knows: selection rule, seed, origin of the threshold."""
    official = [(r.metric, f"{r.machine} {number(r.value)}") for r in results if r.metric in OFFICIAL_LABELS]
    scores = f"{OFFICIAL_LABELS[official[0][0]]}: {', '.join(text for _, text in official)}." if official else ""
    return " ".join(part for part in (sheet.note, scores if sheet is RANKING else "", caption) if part)


def results_table(results: Iterable[Result], title: str, caption: str = "", sheet: Sheet = RANKING) -> Table:
    """Table for the terminal: one row per machine ID, the summary of each machine type set apart."""
    results = list(results)
    text = escape(table_note(results, caption, sheet))
    table = Table(title=escape(title), caption=text, box=SIMPLE_HEAD, caption_justify="left")
    for position, column in enumerate(table_columns(results, sheet)):
        table.add_column(column, justify="right" if position else "left", no_wrap=not position)
    for row in table_rows(results, sheet):
        bold = "bold" if row.is_summary else None
        cells = ("-" if cell == UNDEFINED_TEXT else cell for cell in row.cells)  # the terminal may be narrow
        table.add_row(*(escape(cell) for cell in cells), style=bold, end_section=row.ends_section)
    return table


def to_markdown(results: Iterable[Result], caption: str = "", sheet: Sheet = RANKING) -> str:
    """The same table in markdown, summary rows in bold, followed by the note."""
    results = list(results)
    heads = table_columns(results, sheet)
    lines = [heads, (":--", *["--:"] * (len(heads) - 1))]
    for row in table_rows(results, sheet):
        cells = (cell.replace("|", r"\|") for cell in row.cells)
        lines.append([f"**{cell}**" if cell and row.is_summary else cell for cell in cells])
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", table_note(results, caption, sheet), ""])


def _cells(machine: str, name: str, values: dict[str, float], metrics: Iterable[str], sheet: Sheet) -> tuple[str, ...]:
    label = "all types" if name in SUMMARIES and machine == "all" else machine
    known = (metric in values or (metric in sheet.metrics and metric != LEVEL) for metric in metrics)
    cells = (number(values.get(metric, math.nan)) if one else "" for metric, one in zip(metrics, known, strict=True))
    counts = (f"{values[count]:.0f}" if count in values else "" for count in sheet.counts)
    return f"{label} {SUMMARY_NAMES.get(name, name)}", *cells, *counts
