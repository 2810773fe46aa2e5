"""Runs that repeat one another, over seeds, folds or IDs left out: which they are, their mean and deviation."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mimii_pl.core.options import is_repeat
from mimii_pl.report import class_leaderboard
from mimii_pl.report.cost import COSTS

TEXT_COLUMNS = ("machine", "target", "model", "backend", "overrides")
HEADS = {
    "rank": "#", "pseudo_auc": "pseudo AUC", "auc": "AUC", "pauc": "pAUC", "min_auc": "min", "level_auc": "level",
    **{name: figure.head for name, figure in COSTS.items()},
}  # fmt: skip
AVERAGED = ("pseudo_auc", "auc", "pauc", "min_auc", "level_auc")
AVERAGED_COSTS = [name for name in COSTS if name != "best_batch"]  # a mean batch size would be none that was timed


def summarise(rows: list[dict]) -> list[dict]:
    """Mean and standard deviation over the runs that differ in seed, fold or ID left out alone, best first; of what
    they cost, the mean.

    Empty where no run is repeated. Standard deviations are those of a sample (n - 1).
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["machine"], row["model"], row["backend"], row["group"]), []).append(row)
    if all(len(runs) == 1 for runs in groups.values()):
        return []
    summary = []
    for (machine, model, backend, _), runs in groups.items():
        options = [item for item in runs[0]["overrides"].split() if not is_repeat(item.split("=")[0])]
        line = {"machine": machine, "model": model, "backend": backend, "overrides": " ".join(options)}
        line |= {"target": runs[0]["target"]} if "target" in runs[0] else {}
        line["runs"] = len(runs)
        costs = {name: statistics.fmean(run[name] for run in runs) for name in AVERAGED_COSTS}
        measures = AVERAGED if "pseudo_auc" in runs[0] else class_leaderboard.CLASS_COLUMNS[1:]
        summary.append(line | averages(runs, measures) | costs)
    return sorted(summary, key=lambda line: (line["machine"], line.get("target", ""), -line[_first(line)]))


def _first(line: Mapping[str, Any]) -> str:
    """What lines are sorted by."""
    return "pseudo_auc" if "pseudo_auc" in line else class_leaderboard.CLASS_CRITERION


def averages(runs: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """`name`: mean over the runs that have it; `name_std`: standard deviation of a sample, NaN for one run."""
    line = {}
    for name in names:
        values = [run[name] for run in runs if math.isfinite(run.get(name, math.nan))]
        line[name] = statistics.fmean(values) if values else math.nan
        line[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else math.nan
    return line


def summary_table(repeated: Sequence[dict]) -> Any:
    """What `summarise` found, for the terminal (a rich table)."""
    from rich.table import Table

    caption = "Mean ± standard deviation over seeds, folds or IDs left out."
    table = Table(title="Over repeated runs", caption=caption, caption_justify="left", box=None, padding=(0, 1))
    varied = [name for name in ("backend", "overrides") if len({line[name] for line in repeated}) > 1]
    measures = (
        ("pseudo_auc", "auc", "pauc", "min_auc") if "pseudo_auc" in repeated[0] else class_leaderboard.CLASS_COLUMNS[1:]
    )
    names = ("machine", *(("target",) if "target" in repeated[0] else ()), "model", *varied, "runs", *measures)
    for name in names:
        table.add_column(
            (HEADS | class_leaderboard.CLASS_HEADS).get(name, name),
            justify="left" if name in TEXT_COLUMNS else "right",
            overflow="fold",
        )
    for line in repeated:
        table.add_row(*(spread(line, name) if name in measures else str(line[name]) for name in names))
    return table


def spread(line: Mapping[str, float], name: str) -> str:
    """Mean and deviation of `averages` as text, `.744±.012`; the mean alone of a single run."""
    from mimii_pl.report.tables import number

    deviation = line[f"{name}_std"]
    return number(line[name]) + (f"±{number(deviation)}" if math.isfinite(deviation) else "")
