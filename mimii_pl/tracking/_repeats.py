"""Runs that repeat one another, over seeds, folds or IDs left out: which they are, their mean and deviation."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from mimii_pl.report._efficiency import FIGURES
from mimii_pl.tracking import _class_rows

TEXT = ("machine", "target", "model", "backend", "overrides")
HEADS = {
    "rank": "#", "pseudo_auc": "pseudo AUC", "auc": "AUC", "pauc": "pAUC", "min_auc": "min", "level_auc": "level",
    **{name: figure.head for name, figure in FIGURES.items()},
}  # fmt: skip
REPEATS = ("seed", "fold", "left_out")  # last parts of the options that repeat a run rather than change it
AVERAGED = ("pseudo_auc", "auc", "pauc", "min_auc", "level_auc")
COST = [name for name in FIGURES if name != "best_batch"]  # a mean batch size would be none that was timed
WHERE = (  # options that say where and how a run is run, not what it is; so does `trainer` but for its OF_TRAINER
    "run_dir", "resume", "best", "threads", "published", "report", "efficiency", "logger", "experiment", "sweep",
    "objective", "trainer", "dataset.num_workers", "dataset.cache_dir", "dataset.download", "dataset.mirrors",
    "dataset.keep_archives", "dataset.archives",
)  # fmt: skip
OF_TRAINER = ("max_epochs", "max_time", "limit_train_batches", "precision")


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
        line |= {"target": runs[0]["target"]} if "target" in runs[0] else {}
        line["runs"] = len(runs)
        costs = {name: statistics.fmean(run[name] for run in runs) for name in COST}
        measures = AVERAGED if "pseudo_auc" in runs[0] else _class_rows.COLUMNS[1:]
        summary.append(line | averages(runs, measures) | costs)
    return sorted(summary, key=lambda line: (line["machine"], line.get("target", ""), -line[_first(line)]))


def _first(line: Mapping[str, Any]) -> str:
    """What lines are sorted by."""
    return "pseudo_auc" if "pseudo_auc" in line else _class_rows.CRITERION


def averages(runs: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    """`name`: mean over the runs that have it; `name_std`: standard deviation of a sample, NaN for one run."""
    line = {}
    for name in names:
        values = [run[name] for run in runs if math.isfinite(run.get(name, math.nan))]
        line[name] = statistics.fmean(values) if values else math.nan
        line[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else math.nan
    return line


def _repeats(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in REPEATS


def identity(cfg: DictConfig) -> tuple:
    """What a run is: its choices and values, see `divided`."""
    from mimii_pl.tracking._logger import flat

    return tuple(divided({**flat(cfg), **cfg.choices})[0].items())


def divided(options: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Options by dotted key, sorted: those that make a run what it is, and those that repeat it.

    Left out are those that say where and how it is run.
    """
    kept = {key: str(options[key]) for key in sorted(options) if not _says_where(key)}
    return (
        {key: value for key, value in kept.items() if not _repeats(key)},
        {key: value for key, value in kept.items() if _repeats(key)},
    )


def _says_where(key: str) -> bool:
    group, _, name = key.partition(".")
    return key.startswith(WHERE) and not (group == "trainer" and name in OF_TRAINER)


def differences(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Of each configuration the options in which they differ, `model.lr=0.001 model.frames=5`; long numbers rounded."""
    keys = dict.fromkeys(key for config in configs for key in config)
    varied = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    return [" ".join(f"{key}={_short(config[key])}" for key in varied if key in config) for config in configs]


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def summary_table(repeated: Sequence[dict]) -> Any:
    """What `summarise` found, for the terminal (a rich table)."""
    from rich.table import Table

    caption = "Mean ± standard deviation over seeds, folds or IDs left out."
    table = Table(title="Over repeated runs", caption=caption, caption_justify="left", box=None, padding=(0, 1))
    varied = [name for name in ("backend", "overrides") if len({line[name] for line in repeated}) > 1]
    measures = ("pseudo_auc", "auc", "pauc", "min_auc") if "pseudo_auc" in repeated[0] else _class_rows.COLUMNS[1:]
    names = ("machine", *(("target",) if "target" in repeated[0] else ()), "model", *varied, "runs", *measures)
    for name in names:
        table.add_column(
            (HEADS | _class_rows.HEADS).get(name, name), justify="left" if name in TEXT else "right", overflow="fold"
        )
    for line in repeated:
        table.add_row(*(spread(line, name) if name in measures else str(line[name]) for name in names))
    return table


def spread(line: Mapping[str, float], name: str) -> str:
    """Mean and deviation of `averages` as text, `.744±.012`; the mean alone of a single run."""
    from mimii_pl.report._tables import number

    deviation = line[f"{name}_std"]
    return number(line[name]) + (f"±{number(deviation)}" if math.isfinite(deviation) else "")
