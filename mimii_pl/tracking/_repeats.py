"""Runs of a sweep that repeat one another, over seeds, folds or IDs left out: their mean and deviation."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from mimii_pl.report._efficiency import FIGURES

TEXT = ("machine", "model", "backend", "overrides")
HEADS = {
    "rank": "#", "pseudo_auc": "pseudo AUC", "auc": "AUC", "pauc": "pAUC", "min_auc": "min", "level_auc": "level",
    **{name: figure.head for name, figure in FIGURES.items()},
}  # fmt: skip
REPEATS = ("seed", "fold", "left_out")  # last parts of the options that repeat a run rather than change it
AVERAGED = ("pseudo_auc", "auc", "pauc", "min_auc", "level_auc")
COST = [name for name in FIGURES if name != "best_batch"]  # a mean batch size would be none that was timed


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
        options = [item for item in runs[0]["overrides"].split() if not _repeats(item.split("=")[0])]
        line = {"machine": machine, "model": model, "backend": backend, "overrides": " ".join(options)}
        line["runs"] = len(runs)
        for name in AVERAGED:
            values = [run[name] for run in runs if math.isfinite(run[name])]
            line[name] = statistics.fmean(values) if values else math.nan
            line[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else math.nan
        for name in COST:
            line[name] = statistics.fmean(run[name] for run in runs)
        summary.append(line)
    return sorted(summary, key=lambda line: (line["machine"], -line["pseudo_auc"]))


def _repeats(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in REPEATS


def identity(cfg: DictConfig) -> tuple:
    """Every option but those that repeat a run, or that say where and how it is run."""
    from mimii_pl.tracking._logger import flat

    own = ("run_dir", "trainer.", "efficiency.", "dataset.num_workers", "dataset.cache_dir")
    return tuple(item for item in sorted(flat(cfg).items()) if not item[0].startswith(own) and not _repeats(item[0]))


def summary_table(repeated: Sequence[dict]) -> Any:
    """What `summarise` found, for the terminal (a rich table)."""
    from rich.table import Table

    caption = "Mean ± standard deviation over seeds, folds or IDs left out."
    table = Table(title="Over repeated runs", caption=caption, caption_justify="left", box=None, padding=(0, 1))
    varied = [name for name in ("backend", "overrides") if len({line[name] for line in repeated}) > 1]
    names = ("machine", "model", *varied, "runs", "pseudo_auc", "auc", "pauc", "min_auc")
    for name in names:
        table.add_column(HEADS.get(name, name), justify="left" if name in TEXT else "right", overflow="fold")
    for line in repeated:
        table.add_row(*(_spread(line, name) if name in AVERAGED else str(line[name]) for name in names))
    return table


def _spread(line: dict, name: str) -> str:
    from mimii_pl.report._tables import number

    deviation = line[f"{name}_std"]
    return number(line[name]) + (f"±{number(deviation)}" if math.isfinite(deviation) else "")
