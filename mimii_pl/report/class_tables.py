"""Results of a classifier as tables: over all classes, of each class, and what is taken for what."""

import math
from collections.abc import Iterable, Sequence

from mimii_pl.report.grid import Grid
from mimii_pl.report.tables import number
from mimii_pl.scoring.class_metrics import confusion_matrix
from mimii_pl.scoring.predictions import ALL_CLASSES, Predictions
from mimii_pl.scoring.results import Result

OVERALL = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced", "f1_macro": "F1", "f1_weighted": "F1 weighted",
    "auc_macro": "AUC", "calibration_error": "ECE", "n": "clips",
}  # fmt: skip
EACH = {"precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC", "n": "clips"}
MEANS = {"macro": "mean", "weighted": "mean by clips"}
CLASS_NOTE = (
    "balanced: mean recall of the classes; F1, AUC (a class against all others): means over classes; weighted: by "
    "clips; ECE: expected calibration error, 15 bins."
)


def all_classes(results: Iterable[Result], title: str, caption: str = "") -> Grid:
    """One row: what holds over all classes."""
    found = {result.metric: (result.machine, result.value) for result in results if result.id == ALL_CLASSES}
    machine = next(iter(found.values()))[0]
    cells = (machine, *(class_cell(name, found[name][1]) for name in OVERALL))
    return Grid(title, ("", *OVERALL.values()), [cells], f"{CLASS_NOTE} {caption}".strip(), ranked=False)


def each_class(results: Iterable[Result], title: str = "Classes") -> Grid:
    """A row per class, then the means over classes."""
    of: dict[str, dict[str, float]] = {}
    for result in results:
        of.setdefault(result.id, {})[result.metric] = result.value
    over = of.pop(ALL_CLASSES)
    rows = [(name, *(class_cell(metric, values[metric]) for metric in EACH)) for name, values in of.items()]
    for kind, name in MEANS.items():
        known = (f"{metric}_{kind}" for metric in EACH)
        rows.append((name, *(class_cell(metric, over[metric]) if metric in over else "" for metric in known)))
    return Grid(title, ("class", *EACH.values()), rows, "AUC: the class against all others.", ranked=False)


def taken_for(predictions: Predictions) -> list[tuple[str, Sequence[int]]]:
    """Confusion matrix: name of each class, and how many of its clips are taken for each."""
    known = predictions.known
    return list(zip(known.classes, confusion_matrix(known.label, known.probability).tolist(), strict=True))


def class_cell(name: str, value: float) -> str:
    """A metric as text; counts are whole."""
    return f"{value:.0f}" if name == "n" and not math.isnan(value) else number(value)
