"""Repeated runs, over seeds, folds or left-out IDs: group them, and compute means and standard deviations."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import is_repeat
from mimii_pl.report.boards import Board, board_of
from mimii_pl.report.cost import COSTS
from mimii_pl.report.tables import number

TEXT_COLUMNS = ("machine", "target", "detector")
AVERAGED_COSTS = [name for name in COSTS if name != "best_batch"]  # the mean would be a batch size that was never timed


def summarise(rows: Sequence[dict]) -> list[dict]:
    """Average runs that differ only in seed, fold or left-out ID: mean and standard deviation, best first.

    Of costs, only the mean is computed. Standard deviations are those of a sample (n - 1). Empty where no run is
    repeated.
    """
    groups = group_by(rows, lambda row: (row["machine"], row["model"], row["backend"], row["group"]))
    if all(len(runs) == 1 for runs in groups.values()):
        return []
    lines = [_summary(runs) for runs in groups.values()]
    return sorted(lines, key=lambda line: (line["machine"], line.get("target", ""), -line[board_of(line).criterion]))


def _summary(runs: Sequence[dict]) -> dict:
    first = runs[0]
    options = [item for item in first["overrides"].split() if not is_repeat(item.split("=")[0])]
    line = {name: first[name] for name in ("task", "machine", "detector", "model", "backend")} | {
        "overrides": " ".join(options)
    }
    if "target" in first:
        line["target"] = first["target"]
    line["runs"] = len(runs)
    costs = {name: statistics.fmean(run[name] for run in runs) for name in AVERAGED_COSTS}
    return line | averages(runs, board_of(first).heads) | costs


def summary_columns(lines: Iterable[dict]) -> list[str]:
    """Return the columns of `summary.csv`: all that a line has, but for its task's class."""
    return list(dict.fromkeys(name for line in lines for name in line if name != "task"))


def averages(runs: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """Average numbers over runs.

    Returns:
        `<name>`: mean over the runs that have it; `<name>_std`: standard deviation of a sample, NaN for one run.
    """
    line = {}
    for name in names:
        values = [run[name] for run in runs if math.isfinite(run.get(name, math.nan))]
        line[name] = statistics.fmean(values) if values else math.nan
        line[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else math.nan
    return line


def summary_cells(board: Board, lines: Sequence[dict]) -> dict[str, list[str]]:
    """Return lines of `summarise`, all of one task, as text: column -> its head and cells."""
    names = (*board.labels, "detector", "runs", *board.repeated)
    return {
        name: [
            board.heads.get(name, name),
            *(spread(line, name) if name in board.repeated else str(line[name]) for line in lines),
        ]
        for name in names
    }


def spread(line: Mapping[str, float], name: str) -> str:
    """Return mean and deviation of `averages` as text, `.744±.012`; the mean alone for a single run."""
    deviation = line[f"{name}_std"]
    return f"{number(line[name])}±{number(deviation)}" if math.isfinite(deviation) else number(line[name])
