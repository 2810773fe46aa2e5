"""Draw tables as LaTeX would print them, into a PDF."""

import io
import textwrap
from collections.abc import Sequence

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from mimii_pl.report.grid import Grid

SIZE = 9  # points of the text
LINE = 0.19  # inches from line to line
CHARACTER = 0.078  # inches, average width of a character
GAP = 0.25  # inches between columns
ALERT_COLOUR = "#8c3a00"


def to_pdf(grids: Sequence[Grid]) -> bytes:
    """Draw tables into a PDF, one per page."""
    content = io.BytesIO()
    with PdfPages(content, metadata={"CreationDate": None}) as pages:
        for grid in grids:
            pages.savefig(drawn(grid))
    return content.getvalue()


def drawn(grid: Grid) -> Figure:
    """Draw a table with the rules of LaTeX's booktabs package, and its note below."""
    rows = [grid.heads, *grid.rows, *grid.apart]
    widths = [max(len(row[column]) for row in rows) * CHARACTER + GAP for column in range(len(grid.heads))]
    width = max(sum(widths), 5.0)
    alert = [line for text in grid.alert.splitlines() for line in textwrap.wrap(text, int(width / CHARACTER))]
    notes = [
        line
        for text in (grid.trust, grid.note, grid.apart_note)
        for line in textwrap.wrap(text, int(width / CHARACTER * 1.2))
    ]
    height = LINE * (len(rows) + len(alert) + len(notes) + 4)
    figure = Figure(figsize=(width + 0.4, height + 0.3))
    axes = figure.add_axes((0.2 / (width + 0.4), 0, width / (width + 0.4), 1))
    axes.set(xlim=(0, width), ylim=(-height, 0.3))
    axes.set_axis_off()
    axes.text(0, 0, grid.title, fontsize=SIZE + 1, weight="bold", va="center")
    y = -1.2 * LINE
    for line in alert:
        axes.text(0, y, line, fontsize=SIZE - 1, weight="bold", va="center", color=ALERT_COLOUR)
        y -= LINE
    for number, row in enumerate(rows):
        if number in (0, 1, len(grid.rows) + 1):
            thick = 1.4 if number == 0 else 0.7
            axes.axhline(y + LINE / 2, color="black", linewidth=thick, xmax=sum(widths) / width)
        style = "italic" if number > len(grid.rows) else "normal"
        pointed = number - 1 in grid.pointed
        weight = "bold" if pointed or (number == 1 and grid.ranked) else "normal"
        colour = ALERT_COLOUR if pointed else "black"
        for column, cell in enumerate(row):
            left = sum(widths[:column]) if column == 0 else sum(widths[: column + 1]) - GAP / 2
            align = "right" if column else "left"
            axes.text(left, y, cell, fontsize=SIZE, ha=align, va="center", style=style, weight=weight, color=colour)
        y -= LINE
    axes.axhline(y + LINE / 2, color="black", linewidth=1.4, xmax=sum(widths) / width)
    for line in notes:
        y -= LINE
        axes.text(0, y + LINE / 3, line, fontsize=SIZE - 2, va="center", color="#4a5460")
    return figure
