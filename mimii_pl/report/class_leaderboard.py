"""Rows of a sweep's leaderboard that are classifiers: ranked by what they do on held-out clips."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mimii_pl.report import cost
from mimii_pl.report.grid import Grid
from mimii_pl.report.tables import number
from mimii_pl.scoring.predictions import ALL_CLASSES
from mimii_pl.scoring.results import read_results

CLASS_CRITERION = "val_balanced_accuracy"
CLASS_MEASURES = ("balanced_accuracy", "accuracy", "f1_macro", "f1_weighted", "auc_macro", "calibration_error")
CLASS_COLUMNS = ("target", CLASS_CRITERION, *CLASS_MEASURES)
CLASS_HEADS = {
    CLASS_CRITERION: "held out", "balanced_accuracy": "balanced", "f1_macro": "F1", "f1_weighted": "F1 w.",
    "auc_macro": "AUC", "calibration_error": "ECE",
}  # fmt: skip
CLASS_COSTS = (
    "parameters",
    "size_bytes",
    "train_seconds",
    "peak_memory_bytes",
    "macs",
    "ms_per_clip",
    "clips_per_second",
)
CLASS_LEADERBOARD_NOTE = (
    "Ranked within each machine and target by the balanced accuracy on held-out clips: no test label is read to rank. "
    "The other columns are of the test clips; F1, AUC: means over classes; F1 w.: by clips; ECE: calibration error."
)


def measures(child: Path, cfg: DictConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """What a classifier's run achieved, by the names of `COLUMNS`."""
    found = {result.metric: result.value for result in read_results(child / "results.csv") if result.id == ALL_CLASSES}
    criterion = facts["balanced_accuracy"]
    return {
        "target": cfg.target,
        CLASS_CRITERION: criterion,
        **{name: found.get(name, math.nan) for name in CLASS_MEASURES},
    }


def grids(rows: Sequence[dict]) -> list[Grid]:
    """The leaderboard as tables for papers, with what the classifiers cost: one per machine and target, best first."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        found.setdefault((row["machine"], row["target"]), []).append(row)
    heads = (
        "model",
        *(CLASS_HEADS.get(name, name) for name in CLASS_COLUMNS[1:]),
        *(cost.COSTS[n].head for n in CLASS_COSTS),
    )
    return [
        Grid(f"Classifiers by {target} on {machine}", heads, [_cells(row) for row in of_one], CLASS_LEADERBOARD_NOTE)
        for (machine, target), of_one in found.items()
    ]


def _cells(row: dict) -> tuple[str, ...]:
    costs = (cost.cost_cell(name, row[name]) for name in CLASS_COSTS)
    return (
        " ".join(filter(None, (row["model"], row["overrides"]))),
        *(number(row[name]) for name in CLASS_COLUMNS[1:]),
        *costs,
    )
