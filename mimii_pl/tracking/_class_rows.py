"""Rows of a sweep's leaderboard that are classifiers: ranked by what they do on held-out clips."""

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mimii_pl.predictions import ALL
from mimii_pl.results import read_results

CRITERION = "val_balanced_accuracy"
MEASURES = ("balanced_accuracy", "accuracy", "f1_macro", "f1_weighted", "auc_macro", "calibration_error")
COLUMNS = ("target", CRITERION, *MEASURES)
HEADS = {
    CRITERION: "held out", "balanced_accuracy": "balanced", "f1_macro": "F1", "f1_weighted": "F1 w.",
    "auc_macro": "AUC", "calibration_error": "ECE",
}  # fmt: skip
SELECTION = (
    "Ranked within each machine and target by the balanced accuracy on held-out clips: no test label is read to rank. "
    "The other columns are of the test clips; F1, AUC: means over classes; F1 w.: by clips; ECE: calibration error."
)


def measures(child: Path, cfg: DictConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """What a classifier's run achieved, by the names of `COLUMNS`."""
    found = {result.metric: result.value for result in read_results(child / "results.csv") if result.id == ALL}
    criterion = facts["balanced_accuracy"]
    return {"target": cfg.target, CRITERION: criterion, **{name: found.get(name, math.nan) for name in MEASURES}}
