"""Figures of the report: small, readable in black and white, each with alternative text."""

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mimii_pl.report.tables import number
from mimii_pl.scoring import metrics
from mimii_pl.scoring.scores import ClipScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Classes and curves differ by hatch, dash or marker as well as by colour, for reading in black and white.
CLASSES = {
    0: ("normal", {"facecolor": "#9ecae1", "edgecolor": "#08519c"}),
    1: ("anomalous", {"facecolor": "#f0a35e80", "edgecolor": "#8c3a00", "hatch": "///"}),
    -1: ("not labelled", {"facecolor": "none", "edgecolor": "#555555", "linestyle": ":"}),
}
HISTOGRAM_BINS = 24
WIDTH, HEIGHT = 4.8, 3.5  # of a figure, in
BLUE, BROWN, GREY = "#08519c", "#8c3a00", "#555555"


LOOKS: tuple[dict[str, Any], ...] = (  # of lines that can be told apart
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": BROWN, "linestyle": "--", "marker": "s"},
    {"color": "#3f7f3f", "linestyle": "-.", "marker": "^"},
    {"color": "#6a3d9a", "linestyle": ":", "marker": "D"},
    {"color": "#000000", "linestyle": "-", "marker": "x"},
    {"color": "#777777", "linestyle": "--", "marker": "+"},
)


class Image(NamedTuple):
    """A figure as a data URI, with its alternative text."""

    src: str
    alt: str


class Panel(NamedTuple):
    """A small plot among others.

    Attributes:
        title: above it.
        marks: [K] of the places on its horizontal axis, every other one of which is labelled.
        lines: name -> values [K], NaN where unknown.
        levels: two horizontal lines, drawn solid and dotted.
    """

    title: str
    marks: list[str]
    lines: dict[str, list[float]]
    levels: tuple[float, float]


def distribution(clips: list[ClipScore], threshold: float | None = None) -> Image:
    """Draw a histogram per class over the bulk of the scores; outliers and infinities count in the outermost bins.

    Args:
        clips: of one machine ID, highest score first.
        threshold: drawn as a line.
    """
    scores = np.array([clip.score for clip in clips])
    finite = scores[np.isfinite(scores)] if np.isfinite(scores).any() else np.zeros(1)
    low, high = np.quantile(finite, (0.01, 0.99))
    low, high = max(finite.min(), low - (high - low) / 2), min(finite.max(), high + (high - low) / 2)
    margin = 0 if high > low else 0.5 + abs(low) / 100
    edges = np.linspace(low - margin, high + margin, HISTOGRAM_BINS + 1)
    figure, axes = blank("anomaly score", "share of its clips")
    parts = []
    for label, (name, style) in CLASSES.items():
        chosen = scores[[clip.label == label for clip in clips]]
        if len(chosen):
            shares = np.histogram(chosen.clip(edges[0], edges[-1]), edges)[0] / len(chosen)
            fill = style["facecolor"] != "none"
            axes.stairs(shares, edges, fill=fill, linewidth=1.3, **style, label=f"{name}, {len(chosen)} clips")
            parts.append(f"{len(chosen)} {name} clips with median {chosen[len(chosen) // 2]:.4g}")
    if threshold is not None:
        axes.axvline(np.clip(threshold, edges[0], edges[-1]), color="black", linestyle="-.", label="threshold")
        parts.append(f"threshold {threshold:.4g}")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
    return drawing(figure, f"Histogram of anomaly scores: {', '.join(parts)}.", columns=2)


def roc_figure(labels: list[int], scores: list[float], decisions: list[int]) -> Image | None:
    """Draw the ROC curve with the operating point of the decisions; None if undefined."""
    fpr, tpr = metrics.roc(labels, scores)
    if not len(fpr):
        return None
    figure, axes = blank("normal clips called anomalous", "anomalous clips found")
    axes.axvspan(0, 0.1, facecolor="#e3e3e3", edgecolor="none", label="pAUC range")
    axes.plot(fpr, tpr, color=BLUE, linewidth=2, label="this detector")
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, label="chance")
    words = f"{100 * np.interp(0.1, fpr, tpr):.0f} % of the anomalous clips found at 10 % false alarms"
    if -1 not in decisions:
        called = metrics.of_decisions(labels, decisions)
        axes.plot(1 - called["specificity"], called["recall"], "o", color=BROWN, markersize=8, label="threshold")
        words += f"; at the threshold {100 * called['recall']:.0f} % at {100 - 100 * called['specificity']:.0f} %"
    return drawing(figure, f"ROC curve: area {number(metrics.auc(labels, scores))}; {words}.", columns=2)


def precision_recall_figure(labels: list[int], scores: list[float], decisions: list[int]) -> Image | None:
    """Draw the precision-recall curve with the operating point of the decisions; None if undefined."""
    recall, precision = metrics.pr_curve(labels, scores)
    if not len(recall):
        return None
    figure, axes = blank("anomalous clips found (recall)", "correct alarms (precision)")
    axes.step(recall, precision, where="pre", color=BLUE, linewidth=2, label="this detector")
    axes.axhline(np.mean(labels), color=GREY, linestyle="--", linewidth=1, label="chance")
    axes.set_ylim(0, 1.03)
    point = ""
    if -1 not in decisions:
        called = metrics.of_decisions(labels, decisions)
        axes.plot(called["recall"], called["precision"], "o", color=BROWN, markersize=8, label="threshold")
        point = f"; at the threshold precision {called['precision']:.2f}, recall {called['recall']:.2f}"
    area = number(metrics.pr_auc(labels, scores))
    return drawing(figure, f"Precision-recall curve: average precision {area}{point}.", columns=2)


def training_curve(quantity: str, lines: dict[str, list[tuple[int, float]]]) -> Image:
    """Draw values by epoch, a line per name."""
    figure, axes = blank("epoch", quantity)
    for (name, points), dash in zip(lines.items(), ("-", "--", ":", "-.") * len(lines), strict=False):
        axes.plot(*zip(*points, strict=True), linestyle=dash, marker=".", linewidth=1.6, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    ends = (f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for name, points in lines.items())
    return drawing(figure, f"Training curve of {quantity} by epoch: {', '.join(ends)}.", columns=2)


def embedding_map(places: np.ndarray, groups: dict[str, np.ndarray], name: str) -> Image:
    """Draw a map of embeddings.

    Args:
        places: [N, 2] of every clip; those of other machine IDs are drawn as a backdrop.
        groups: `training`, `normal`, `anomalous`, `not labelled` -> rows of this machine ID's clips.
        name: of the machine ID.
    """
    figure, axes = blank("", "")
    axes.set(xticks=[], yticks=[])
    axes.scatter(*places.T, s=4, color="#dddddd", label="other machines", rasterized=True)
    looks = {
        "training": {"marker": ".", "s": 14, "color": "#7f7f7f"},
        "normal": {"marker": "o", "s": 22, "facecolor": "none", "edgecolor": BLUE},
        "anomalous": {"marker": "x", "s": 26, "color": BROWN},
        "not labelled": {"marker": "+", "s": 26, "color": "black"},
    }
    for group, rows in groups.items():
        if len(rows):
            axes.scatter(*places[rows].T, label=f"{group}, {len(rows)}", linewidth=1.1, **looks[group])
    counts = ", ".join(f"{len(rows)} {group}" for group, rows in groups.items() if len(rows))
    return drawing(figure, f"Map of embeddings (t-SNE) of {name}: {counts} clips.", columns=3)


def draw_panels(panels: Sequence[Panel], alt: str) -> Image:
    """Draw values between .4 and 1 in small plots, four in a row, whose lines share a legend."""
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / 4)
    height = 2.1 * rows + 0.5  # in; places are given, since finding them takes as long as all other figures
    figure = Figure(figsize=(9.6, height))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.3 / height, top=1 - 0.65 / height, wspace=0.2, hspace=0.45)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 4, place, ylim=(0.4, 1.02))
        axes.set_title(panel.title, fontsize=10)
        for level, dash in zip(panel.levels, ("-", ":"), strict=True):
            axes.axhline(level, color="#999999", linewidth=0.8, linestyle=dash)
        for (name, values), look in zip(panel.lines.items(), LOOKS, strict=False):
            axes.plot(values, linewidth=1.4, markersize=4, label=name if place == 1 else "_", **look)
        ticks = range(0, len(panel.marks), 2)
        axes.set_xticks(ticks, [panel.marks[tick] for tick in ticks], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper left", ncols=3, frameon=False, fontsize=9)
    return as_image(figure, alt, "svg", "image/svg+xml", metadata={"Date": None})


def blank(x: str, y: str) -> tuple:
    """Return an empty figure and its axes, labelled."""
    from matplotlib.figure import Figure  # late: it takes as long to import as to draw several figures

    figure = Figure(figsize=(WIDTH, HEIGHT))  # in; places are given, since finding them takes as long as drawing
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def drawing(figure: "Figure", alt: str, columns: int) -> Image:
    """Return a figure as SVG, with a legend of so many columns above it."""
    entries = len(figure.axes[0].get_legend_handles_labels()[0])
    left = 0.7 if figure.axes[0].get_ylabel() else 0.1  # in
    bottom, legend = 0.5 if left > 0.1 else 0.1, 0.2 + 0.18 * -(-entries // columns)
    figure.subplots_adjust(left / WIDTH, bottom / HEIGHT, 1 - 0.12 / WIDTH, 1 - legend / HEIGHT)
    figure.legend(loc="upper left", ncols=columns, frameon=False, fontsize=9)
    return as_image(figure, alt, "svg", "image/svg+xml", metadata={"Date": None})


def as_image(figure: "Figure", alt: str, kind: str, mime: str, **options: Any) -> Image:
    """Save a figure in a format, as a data URI."""
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": alt}):  # the same figure has the same names in it, and so the same bytes
        figure.savefig(content, format=kind, **options)
    return Image(data_uri(content.getvalue(), mime), alt)


def pixel_image(pixels: np.ndarray, alt: str) -> Image:
    """Return pixels [height, width, 3] of 8 bits as WebP."""
    from PIL import Image as PixelImage

    content = io.BytesIO()
    PixelImage.fromarray(pixels).save(content, "WEBP", quality=80, method=2)  # half the time of the default, as small
    return Image(data_uri(content.getvalue(), "image/webp"), alt)


def data_uri(content: bytes, mime: str) -> str:
    """Return bytes as a data URI."""
    return f"data:{mime};base64,{b64encode(content).decode()}"
