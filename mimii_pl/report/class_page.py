"""The page of a classifier's run: `report.html`, a self-contained file."""

from pathlib import Path

from mimii_pl.core.files import write_text
from mimii_pl.core.run_dir import read_facts
from mimii_pl.report import class_tables, cost, figures, tables
from mimii_pl.report.page import training_lines
from mimii_pl.report.template import template
from mimii_pl.scoring.class_metrics import Reliability, reliability
from mimii_pl.scoring.predictions import ALL_CLASSES, Predictions, read_predictions
from mimii_pl.scoring.results import read_results

WRONG_LISTED = 20  # misclassified clips listed by name


def write_class_report(run_dir: Path, *, title: str = "", caption: str = "") -> Path:
    """Write `report.html` from `predictions.csv`, `results.csv` and the other files of the run directory.

    Args:
        title: names the run; the name of the run directory if empty.
        caption: selection rule of the checkpoint, and the seed.
    """
    results, predictions = read_results(run_dir / "results.csv"), read_predictions(run_dir / "predictions.csv")
    known = predictions.known
    calibration = reliability(known.label, known.probability)
    config = run_dir / "config.yaml"
    page = template("classes.html.j2").render(
        title=title or run_dir.resolve().name,
        caption=caption,
        overall={result.metric: result.value for result in results if result.id == ALL_CLASSES},
        tables=[class_tables.all_classes(results, "All classes"), class_tables.each_class(results)],
        confusion=class_tables.confusion_rows(predictions),
        wrong=_wrong(known),
        reliability=_reliability_diagram(calibration) if len(known.files) else None,
        training=[figures.training_curve(*curve) for curve in training_lines(run_dir / "history.csv")],
        efficiency=cost.cost_rows(read_facts(run_dir)),
        efficiency_note=cost.COST_NOTE,
        config=config.read_text("utf-8") if config.is_file() else "",
    )
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _wrong(known: Predictions) -> list[tuple[str, str, str, float]]:
    """List misclassified clips, the most confident first: name, class, predicted class, its probability."""
    predicted, confidence = known.probability.argmax(axis=1), known.probability.max(axis=1, initial=0)
    names = tables.short_names(known.files)
    wrong = [row for row in range(len(predicted)) if predicted[row] != known.label[row]]
    wrong.sort(key=lambda row: -confidence[row])
    return [
        (
            names[known.files[row]],
            known.classes[known.label[row]],
            known.classes[predicted[row]],
            float(confidence[row]),
        )
        for row in wrong[:WRONG_LISTED]
    ]


def _reliability_diagram(calibration: Reliability) -> figures.Image:
    """Draw accuracy by confidence."""
    figure, axes = figures.blank("confidence", "share of correct clips")
    edges = [number / len(calibration.clips) for number in range(len(calibration.clips) + 1)]
    axes.stairs(
        calibration.accuracy, edges, fill=True, facecolor="#9ecae1", edgecolor=figures.BLUE, label="this classifier"
    )
    axes.plot(calibration.confidence, calibration.accuracy, "o", color=figures.BROWN, markersize=4, label="bin's mean")
    axes.plot((0, 1), (0, 1), color=figures.GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    bins = ", ".join(
        f"{accuracy:.2f} of {clips} correct at {confidence:.2f}"
        for confidence, accuracy, clips in zip(*calibration[:3], strict=True)
        if clips
    )
    return figures.drawing(
        figure, f"Reliability diagram: calibration error {calibration.error:.3f}; {bins}.", columns=2
    )
