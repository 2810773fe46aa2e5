"""The page of a run: `report.html`, one file that needs nothing else, from the csv files of the run directory."""

import csv
import io
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from mimii_pl import _run_dir, metrics
from mimii_pl.report import _beside, _tables
from mimii_pl.report._tables import Scored

# Classes and curves differ by hatch or dash as well as by colour: the page is read in black and white too.
CLASSES = {
    0: ("normal", {"facecolor": "#9ecae1", "edgecolor": "#08519c"}),
    1: ("anomalous", {"facecolor": "#f0a35e80", "edgecolor": "#8c3a00", "hatch": "///"}),
    -1: ("not labelled", {"facecolor": "none", "edgecolor": "#555555", "linestyle": ":"}),
}
BINS = 24
SHOWN = 5  # clips per list


class Image(NamedTuple):
    """A figure as a data URI, with the words that stand for it."""

    src: str
    alt: str


def write_report(run_dir: Path, *, title: str = "", caption: str = "") -> Path:
    """Write `report.html` from `scores.csv`, `results.csv` and, where they are, `config.yaml` and `history.csv`.

    Args:
        title: what was run; the name of the run directory if empty.
        caption: how the checkpoint was selected and the seed, shown with every table.
    """
    clips = _tables.read_scores(run_dir / "scores.csv")
    results = metrics.read_results(run_dir / "results.csv")
    config = run_dir / "config.yaml"
    page = template("page.html.j2").render(
        title=title or run_dir.resolve().name, columns=_tables.columns(results), rows=_tables.rows(results),
        note=_tables.note(results, caption), caption=caption, headlines=_tables.headlines(results),
        machines=[_machine(*key, results, clips) for key in sorted({clip[:2] for clip in clips})],
        beside=_beside.of_run(run_dir, results),
        training=_training(run_dir / "history.csv"), config=config.read_text("utf-8") if config.is_file() else "",
    )  # fmt: skip
    path = run_dir / "report.html"
    _run_dir.write_text(path, page)
    return path


def template(name: str) -> Template:
    """A page's template; every value is escaped, and a missing one is an error."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = _tables.number
    return environment.get_template(name)


def _machine(machine: str, name: str, results: list[metrics.Result], clips: list[Scored]) -> dict:
    """What the page says of one machine ID."""
    clips = sorted((clip for clip in clips if clip[:2] == (machine, name)), key=lambda clip: -clip.score)
    clips = _tables.short_names(clips)
    value = next((r.value for r in results if r[:3] == (machine, name, "auc")), metrics.UNDEFINED)
    normal, anomalous = ([clip for clip in clips if clip.label == label] for label in (0, 1))
    lists = [
        ("Most anomalous", "highest scores; normal clips are marked", clips[:SHOWN]),
        ("Likeliest false alarms", "highest scores of normal clips", normal[:SHOWN]),
        ("Likeliest misses", "lowest scores of anomalous clips", anomalous[: -SHOWN - 1 : -1]),
    ]
    own = [r for r in results if r[:2] == (machine, name)]
    row = next(iter(_tables.rows(own)), None)
    cells = zip(_tables.columns(own)[1:], row.cells[1:], strict=True) if row else ()
    facts = ", ".join(f"{column} {cell}" for column, cell in cells if cell)
    known = [clip for clip in clips if clip.label >= 0]
    return {
        "name": f"{machine} {name}", "facts": facts, "lists": lists,
        "odds": "" if np.isnan(value) else f"{100 * value:.1f} %",
        "scores": _distribution(clips), "roc": _roc([c.label for c in known], [c.score for c in known], value),
    }  # fmt: skip


# --- figures ---------------------------------------------------------------------------------------------------------
def _distribution(clips: list[Scored]) -> Image:
    """Histogram per class over the bulk of the scores; far outliers and infinities count in the outermost bins."""
    scores = np.array([clip.score for clip in clips])  # falling
    finite = scores[np.isfinite(scores)] if np.isfinite(scores).any() else np.zeros(1)
    low, high = np.quantile(finite, (0.01, 0.99))
    low, high = max(finite.min(), low - (high - low) / 2), min(finite.max(), high + (high - low) / 2)
    margin = 0 if high > low else 0.5 + abs(low) / 100
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    figure, axes = _figure("anomaly score", "share of its clips")
    parts = []
    for label, (name, style) in CLASSES.items():
        chosen = scores[[clip.label == label for clip in clips]]
        if len(chosen):
            shares = np.histogram(chosen.clip(edges[0], edges[-1]), edges)[0] / len(chosen)
            axes.stairs(shares, edges, fill=style["facecolor"] != "none", linewidth=1.3, **style,
                        label=f"{name}, {len(chosen)} clips")  # fmt: skip
            parts.append(f"{len(chosen)} {name} clips with median {chosen[len(chosen) // 2]:.4g}")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return _image(figure, f"Histogram of anomaly scores: {', '.join(parts)}.")


def _roc(labels: list[int], scores: list[float], value: float) -> Image | None:
    fpr, tpr = metrics.roc(labels, scores)
    if not len(fpr):
        return None
    figure, axes = _figure("normal clips called anomalous", "anomalous clips found")
    axes.axvspan(0, 0.1, facecolor="#e3e3e3", edgecolor="none", label="pAUC range")
    axes.plot(fpr, tpr, color="#08519c", linewidth=2, label="this detector")
    axes.plot((0, 1), (0, 1), color="#555555", linestyle="--", linewidth=1, label="chance")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    found = f"{100 * np.interp(0.1, fpr, tpr):.0f} % of the anomalous clips found at 10 % false alarms"
    return _image(figure, f"ROC curve: area {_tables.number(value)}; {found}.")


def _training(path: Path) -> list[Image]:
    """One figure per quantity (`loss` of `train/loss` and `val/loss`)."""
    curves: dict[str, dict[str, list]] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                quantity = curves.setdefault(row["metric"].rpartition("/")[2], {})
                quantity.setdefault(row["metric"], []).append((int(row["epoch"]), float(row["value"])))
    return [_curve(quantity, lines) for quantity, lines in curves.items()]


def _curve(quantity: str, lines: dict[str, list]) -> Image:
    figure, axes = _figure("epoch", quantity)
    for (name, points), dash in zip(lines.items(), ("-", "--", ":", "-.") * len(lines), strict=False):
        axes.plot(*zip(*points, strict=True), linestyle=dash, marker=".", linewidth=1.6, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    ends = (f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in lines.items())
    return _image(figure, f"Training curve of {quantity} by epoch: {', '.join(ends)}.")


def _figure(x: str, y: str) -> tuple:
    figure = Figure(figsize=(4.8, 3.3), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _image(figure: Figure, alt: str) -> Image:
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return Image(f"data:image/svg+xml;base64,{b64encode(content.getvalue()).decode()}", alt)
