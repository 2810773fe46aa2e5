"""Fit the columns of a table to the width of the terminal: long texts wrap first, then columns are omitted by name."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from mimii_pl.report.grid import POINTED_STYLE, Grid, to_rich

if TYPE_CHECKING:
    from mimii_pl.core.console import Console

PADDING = 2  # blanks around a cell
LEAST_TEXT = 10  # characters to which a column of text shrinks
LEAST_NAME = 24  # characters to which the name of a detector shrinks before another column is omitted
CELL_WIDTH = 5  # of a number, `0.744`


Column = TypeVar("Column", bound=Hashable)


def fit_columns(
    cells: Mapping[Column, Sequence[str]],
    texts: Mapping[Column, int],
    kept: Collection[Column],
    total: int,
) -> dict[Column, int]:
    """Return the width of each column that fits the screen.

    The widest columns shrink first: texts wrap, and heads of numbers wrap at blanks. Then columns are omitted from the
    right, those in `kept` never.

    Args:
        cells: column -> its head and cells.
        texts: columns that may wrap within words -> characters to which they shrink; the others have numbers, which do
            not wrap.
        kept: columns that are never omitted.
        total: characters per line of the screen.
    """
    natural = {name: max(map(len, column)) for name, column in cells.items()}
    least = {name: _least(column, texts.get(name)) for name, column in cells.items()}
    widths = dict(natural)
    for name in reversed(list(cells)):
        if sum(least[column] + PADDING for column in widths) > total and name not in kept:
            del widths[name]
    while sum(widths.values()) + PADDING * len(widths) > total:
        wide = [name for name in widths if widths[name] > least[name]]
        if not wide:
            break  # narrower than the columns that are kept
        widths[max(wide, key=lambda name: widths[name])] -= 1
    return widths


def _least(column: Sequence[str], text: int | None) -> int:
    head, *cells = column
    if text is not None:
        return min(text, max(map(len, column)))
    return max(CELL_WIDTH if cells and any("." in cell for cell in cells) else 1, *map(len, [*head.split(), *cells]))


def print_grid(console: "Console", grid: Grid, where: str = "") -> None:
    """Print a table that fits the screen, below what must not be overlooked.

    Args:
        where: file that has the columns that are omitted.
    """
    cells = {place: [head, *(row[place] for row in (*grid.rows, *grid.apart))] for place, head in enumerate(grid.heads)}
    kept = [place for place, head in enumerate(grid.heads) if not place or head in grid.kept]
    widths = fit_columns(cells, {0: LEAST_NAME}, kept, console.width - 1)  # the box adds one
    print_alert(console, grid.alert)
    if omitted := omitted_words([head for place, head in enumerate(grid.heads) if place not in widths], where):
        grid = grid._replace(note=f"{grid.note} {omitted}".strip())
    if grid.trust:
        console.print(grid.trust, highlight=False)
    console.print(to_rich(grid._replace(trust=""), widths))


def print_alert(console: "Console", text: str) -> None:
    """Print what must not be overlooked in a frame; its first line is the head. Nothing for an empty text."""
    from rich.box import HEAVY
    from rich.panel import Panel

    if not text:
        return
    head, *lines = text.splitlines()
    console.print(Panel("\n".join(lines), title=head, title_align="left", box=HEAVY, style=POINTED_STYLE))


def omitted_words(heads: Sequence[str], where: str = "") -> str:
    """Tell which columns a table omits, and the file that has them; empty if there are none."""
    if not heads:
        return ""
    return f"Omitted here{f', but in {where}' if where else ''}: {', '.join(heads)}."
