"""Results as tables: on the terminal, in markdown and (through `rows`) in the report; the scores behind it."""

import csv
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from mimii_pl.errors import InputError
from mimii_pl.metrics import LEVEL, METRICS, SUMMARIES, Result

COLUMNS = {"auc": "AUC", "pauc": "pAUC", "pr_auc": "PR-AUC", LEVEL: "level"}
OF_DOMAINS = {  # only where the clips have domains
    "auc_source": "AUC source", "pauc_source": "pAUC source", "auc_target": "AUC target", "pauc_target": "pAUC target",
}  # fmt: skip
SUMMARY_NAMES = {"mean": "mean", "hmean": "harmonic mean", "min": "minimum"}
COUNTS = {"n_normal": "normal", "n_anomalous": "anomalous"}
OFFICIAL = {
    "official_2020": "DCASE 2020 score, mean of AUC and pAUC over IDs",
    "official_2021": "DCASE 2021 score, harmonic mean of AUC and pAUC of each domain by itself",
    "official_2022": "DCASE score since 2022, harmonic mean of AUC source, AUC target (anomalies of both) and pAUC",
}
UNDEFINED = "undefined"
NOTE = (
    "pAUC: false-positive rate up to .1, chance .5; level: AUC of the clip's level alone, to be beaten; "
    "mean: arithmetic mean over IDs; undefined values are left out."
)


class Row(NamedTuple):
    """One line of the table as text; the cells follow `columns`. `is_summary`: over machine IDs, not of one."""

    cells: tuple[str, ...]
    is_summary: bool
    ends_section: bool


class Scored(NamedTuple):
    """One line of `scores.csv`; label 1 anomalous, 0 normal, -1 not known."""

    machine: str
    id: str
    domain: str
    file: str
    label: int
    score: float


def read_scores(path: Path) -> list[Scored]:
    """Clips of `scores.csv`, in its order."""
    if not path.is_file():
        raise InputError(f"{path} is missing: a report is made of a run that has scored its test clips")
    clips = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                names = (row[name] for name in Scored._fields[:4])
                clips.append(Scored(*names, int(row["label"]), float(row["score"])))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, line {line}: {error!r}; expected {', '.join(Scored._fields)}") from error
            if math.isnan(clips[-1].score) or clips[-1].label not in (0, 1, -1):
                raise InputError(f"{path}, line {line}: the label is not 0, 1 or -1, or the score is NaN")
    return clips


def short_names(clips: list[Scored]) -> list[Scored]:
    """The same clips, their files relative to the deepest folder that holds them all."""
    try:
        folder = os.path.commonpath([os.path.dirname(clip.file) for clip in clips])
    except ValueError:  # no clips, or absolute and relative paths
        folder = ""
    return [clip._replace(file=os.path.relpath(clip.file, folder)) for clip in clips] if folder else clips


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
    return UNDEFINED if math.isnan(value) else f"{value:.3f}".removeprefix("0")


def columns(results: Iterable[Result]) -> list[str]:
    """Heads of the table that these results fill."""
    return ["machine ID", *_metrics(results).values(), *COUNTS.values()]


def _metrics(results: Iterable[Result]) -> dict[str, str]:
    found = {result.metric for result in results}
    return COLUMNS | {name: head for name, head in OF_DOMAINS.items() if name in found}


def rows(results: Iterable[Result]) -> list[Row]:
    """Lines of the table in the order of the results: the IDs of a machine type, then its summary."""
    results = list(results)
    metrics = _metrics(results)
    grouped: dict[tuple[str, str], dict[str, float]] = {}
    for result in results:
        grouped.setdefault((result.machine, result.id), {})[result.metric] = result.value
    keys = list(grouped)
    kinds = [(machine, name in SUMMARIES) for machine, name in keys]
    return [
        Row(_cells(*key, grouped[key], metrics), kind[1], following != kind)
        for key, kind, following in zip(keys, kinds, [*kinds, None][1:], strict=True)
    ]


def note(results: Iterable[Result], caption: str = "") -> str:
    """What the numbers are; `caption` adds what the caller knows: selection rule, seed."""
    official = [(r.metric, f"{r.machine} {number(r.value)}") for r in results if r.metric in OFFICIAL]
    scores = f"{OFFICIAL[official[0][0]]}: {', '.join(text for _, text in official)}." if official else ""
    return " ".join(part for part in (NOTE, scores, caption) if part)


def results_table(results: Iterable[Result], title: str, caption: str = "") -> Table:
    """Table for the terminal: one row per machine ID, the summary of each machine type set apart."""
    results = list(results)
    table = Table(title=escape(title), caption=escape(note(results, caption)), box=SIMPLE_HEAD, caption_justify="left")
    for position, column in enumerate(columns(results)):
        table.add_column(column, justify="right" if position else "left", no_wrap=not position)
    for row in rows(results):
        bold = "bold" if row.is_summary else None
        cells = ("-" if cell == UNDEFINED else cell for cell in row.cells)  # the terminal may be narrow
        table.add_row(*(escape(cell) for cell in cells), style=bold, end_section=row.ends_section)
    return table


def to_markdown(results: Iterable[Result], caption: str = "") -> str:
    """The same table in markdown, summary rows in bold, followed by the note."""
    results = list(results)
    heads = columns(results)
    lines = [heads, (":--", *["--:"] * (len(heads) - 1))]
    for row in rows(results):
        cells = (cell.replace("|", r"\|") for cell in row.cells)
        lines.append([f"**{cell}**" if cell and row.is_summary else cell for cell in cells])
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", note(results, caption), ""])


def _cells(machine: str, name: str, values: dict[str, float], metrics: Iterable[str]) -> tuple[str, ...]:
    label = "all types" if name in SUMMARIES and machine == "all" else machine
    cells = (
        number(values.get(metric, math.nan)) if metric in values or metric in METRICS else "" for metric in metrics
    )
    counts = (f"{values[count]:.0f}" if count in values else "" for count in COUNTS)
    return f"{label} {SUMMARY_NAMES.get(name, name)}", *cells, *counts
