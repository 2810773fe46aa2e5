"""Results of a classifier as tables: over all classes, per class, and the confusion matrix."""

import math
from collections.abc import Iterable, Sequence

from mimii_pl.report.grid import Grid
from mimii_pl.report.tables import number
from mimii_pl.scoring.class_metrics import confusion_matrix
from mimii_pl.scoring.predictions import ALL_CLASSES, Predictions
from mimii_pl.scoring.results import Result

OVERALL = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1_macro": "F1",
    "f1_weighted": "F1 weighted",
    "auc_macro": "AUC",
    "calibration_error": "ECE",
    "n": "clips",
}
EACH = {"precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC", "n": "clips"}
MEANS = {"macro": "mean", "weighted": "mean by clips"}
CLASS_NOTE = (
    "balanced: mean recall of the classes; F1, AUC (a class against all others): means over classes; weighted: by "
    "clips; ECE: expected calibration error, 15 bins."
)


def all_classes(results: Iterable[Result], title: str, caption: str = "") -> Grid:
    """Make the table over all classes, which has one row."""
    overall = {result.metric: (result.machine, result.value) for result in results if result.id == ALL_CLASSES}
    machine = next(iter(overall.values()))[0]
    cells = (machine, *(class_cell(name, overall[name][1]) for name in OVERALL))
    return Grid(title, ("", *OVERALL.values()), [cells], f"{CLASS_NOTE} {caption}".strip(), ranked=False)


def each_class(results: Iterable[Result], title: str = "Classes") -> Grid:
    """Make the table with a row per class, then the means over classes."""
    by_class: dict[str, dict[str, float]] = {}
    for result in results:
        by_class.setdefault(result.id, {})[result.metric] = result.value
    overall = by_class.pop(ALL_CLASSES)
    rows: list[tuple[str, ...]] = []
    for name, values in by_class.items():
        rows.append((name, *(class_cell(metric, values[metric]) for metric in EACH)))
    for kind, name in MEANS.items():
        metrics = (f"{metric}_{kind}" for metric in EACH)
        rows.append((name, *(class_cell(metric, overall[metric]) if metric in overall else "" for metric in metrics)))
    return Grid(title, ("class", *EACH.values()), rows, "AUC: the class against all others.", ranked=False)


def confusion_rows(predictions: Predictions) -> list[tuple[str, Sequence[int]]]:
    """Return the confusion matrix: name of each class, and how many of its clips are predicted to be of each."""
    known = predictions.known
    return list(zip(known.classes, confusion_matrix(known.label, known.probability).tolist(), strict=True))


def class_cell(name: str, value: float) -> str:
    """Return a metric as text; counts are whole numbers."""
    return f"{value:.0f}" if name == "n" and not math.isnan(value) else number(value)
