"""The page of a comparison: `compare.html`, a self-contained file."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mimii_pl.report.fault_curves import fault_curves
from mimii_pl.report.figures import Image, as_image
from mimii_pl.report.ranking import Ranking, noticed_by
from mimii_pl.report.ranking_tables import Tables
from mimii_pl.report.tables import number
from mimii_pl.report.template import template

CELL = (0.78, 0.34)  # inches of a cell of the heat map
LABEL_WIDTH = 48  # characters of a line of a detector's name beside the heat map
MARGIN = 0.12  # inches between labels and cells, and around them


def page(rankings: Sequence[Ranking], tables: Tables, skipped: Sequence[tuple[str, str]]) -> str:
    """Render the rankings with their heat maps, the tables over machine types, and (run, reason) of skipped runs."""
    shown = [
        {
            "grid": grid,
            "cost": cost,
            "pairs": pairs if len(ranking.entries) > 1 else None,
            "heat_map": heat_map(ranking),
            "sensitivity": fault_curves({entry.detector: noticed_by(entry) for entry in ranking.entries}),
        }
        for ranking, grid, cost, pairs in zip(rankings, tables.rankings, tables.costs, tables.pairs, strict=True)
    ]
    runs = sum(len(entry.runs) for ranking in rankings for entry in ranking.entries)
    return template("compare.html.j2").render(
        title="Comparison of detectors", runs=runs, rankings=shown, overviews=tables.overviews, skipped=skipped
    )


def heat_map(ranking: Ranking) -> Image | None:
    """Draw the AUC of every detector for every machine ID: darker is better; None without machine IDs."""
    names = list(dict.fromkeys(name for entry in ranking.entries for name in entry.per_id))
    if not names:
        return None
    words = f"Heat map of the AUC per machine ID. {_words(ranking, names)}"
    return as_image(drawn_map(ranking, names), words, "svg", "image/svg+xml", metadata={"Date": None})


def drawn_map(ranking: Ranking, names: Sequence[str]) -> Figure:
    """Draw the heat map of these machine IDs, as large as its labels need: long names of detectors take several lines.

    Machine IDs that are wider than a cell stand upright.
    """
    values = np.array([[entry.per_id.get(name, math.nan) for name in names] for entry in ranking.entries])
    labels = ["\n".join(textwrap.wrap(entry.detector, LABEL_WIDTH)) for entry in ranking.entries]
    figure = Figure()
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(values, nan=0.5), cmap="Greys", vmin=0.4, vmax=1.1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = number(value) if math.isfinite(value) else "-"
        axes.text(column, row, text, ha="center", va="center", color="white" if value > 0.78 else "black", fontsize=9)
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_yticks(range(len(values)), labels, fontsize=9)
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(values) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#b5bac1", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    _fit_labels(figure)
    return figure


def _fit_labels(figure: Figure) -> None:
    """Give cells their size, and the labels the room that they need."""
    (axes,) = figure.axes
    renderer = FigureCanvasAgg(figure).get_renderer()
    columns, rows = axes.get_xticklabels(), axes.get_yticklabels()

    def size(labels: Sequence) -> tuple[float, float]:
        boxes = [label.get_window_extent(renderer) for label in labels]
        return max(box.width for box in boxes) / figure.dpi, max(box.height for box in boxes) / figure.dpi

    upright = size(columns)[0] > CELL[0] - MARGIN / 2
    for label in columns if upright else ():
        label.set_rotation(90)
    left, above = size(rows)[0] + 2 * MARGIN, size(columns)[1] + 2 * MARGIN
    wide, high = CELL[0] * len(columns), max(CELL[1], size(rows)[1] + MARGIN / 2) * len(rows)
    width, height = left + wide + MARGIN, above + high + MARGIN
    figure.set_size_inches(width, height)
    axes.set_position((left / width, MARGIN / height, wide / width, high / height))


def _words(ranking: Ranking, names: Sequence[str]) -> str:
    lines = (
        f"{entry.detector}: {', '.join(f'{name} {number(entry.per_id.get(name, math.nan))}' for name in names)}."
        for entry in ranking.entries
    )
    return " ".join(lines)
