"""The leaderboard of classifiers: ranked by held-out clips, one table per machine and target."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mimii_pl.core.grouping import group_by
from mimii_pl.report import cost
from mimii_pl.report.grid import Grid, ranking_note
from mimii_pl.report.tables import number
from mimii_pl.scoring.predictions import ALL_CLASSES
from mimii_pl.scoring.results import read_results

CLASS_LABELS = ("machine", "target")  # columns that name the group in which classifiers are ranked
CLASS_CRITERION = "val_balanced_accuracy"
CLASS_HEADS = {  # columns and their heads: the criterion, then results of the test clips
    CLASS_CRITERION: "held out",
    "balanced_accuracy": "balanced",
    "accuracy": "accuracy",
    "f1_macro": "F1",
    "f1_weighted": "F1 w.",
    "auc_macro": "AUC",
    "calibration_error": "ECE",
}
CLASS_COSTS = (
    "parameters",
    "size_bytes",
    "train_seconds",
    "peak_memory_bytes",
    "macs",
    "ms_per_clip",
    "clips_per_second",
)
CLASS_RANKED_BY = "the balanced accuracy on held-out clips"
CLASS_LEGEND = (
    "The other columns are of the test clips; F1, AUC: means over classes; F1 w.: by clips; ECE: calibration error."
)


def read_class_measures(run_dir: Path, cfg: DictConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read the results of a classifier's run, by column: its target, and the names of `CLASS_HEADS`."""
    results = read_results(run_dir / "results.csv")
    overall = {result.metric: result.value for result in results if result.id == ALL_CLASSES}
    measures = {name: overall.get(name, math.nan) for name in CLASS_HEADS}
    return {"target": cfg.target} | measures | {CLASS_CRITERION: facts["balanced_accuracy"]}


def grids(rows: Sequence[dict]) -> list[Grid]:
    """Return the leaderboard as tables for papers, costs included: one per machine and target, best first."""
    groups = group_by(rows, lambda row: (row["machine"], row["target"]))
    note = f"{ranking_note(CLASS_LABELS, CLASS_RANKED_BY)} {CLASS_LEGEND}"
    heads = ("detector", *CLASS_HEADS.values(), *(cost.COSTS[name].head for name in CLASS_COSTS))
    return [
        Grid(f"Classifiers by {target} on {machine}", heads, [_cells(row) for row in group], note)
        for (machine, target), group in groups.items()
    ]


def _cells(row: dict) -> tuple[str, ...]:
    costs = (cost.cost_cell(name, row[name]) for name in CLASS_COSTS)
    return (row["name"], *(number(row[column]) for column in CLASS_HEADS), *costs)
