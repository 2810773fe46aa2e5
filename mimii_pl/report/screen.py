"""Fit the columns of a table to the width of the terminal: long texts wrap first, then columns are omitted by name."""

from collections.abc import Collection, Mapping, Sequence

PADDING = 2  # blanks around a cell
LEAST_TEXT = 10  # characters to which a column of text shrinks
CELL_WIDTH = 5  # of a number, `0.744`


def fit_columns(
    cells: Mapping[str, Sequence[str]], texts: Collection[str], kept: Collection[str], total: int
) -> dict[str, int]:
    """Return the width of each column that fits the screen.

    The widest columns shrink first: texts wrap, and heads of numbers wrap at blanks. Then columns are omitted from the
    right, those in `kept` never.

    Args:
        cells: column -> its head and cells.
        texts: columns that may wrap within words; the others have numbers, which do not wrap.
        kept: columns that are never omitted.
        total: characters per line of the screen.
    """
    natural = {name: max(map(len, column)) for name, column in cells.items()}
    least = {name: _least(column, name in texts) for name, column in cells.items()}
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


def _least(column: Sequence[str], is_text: bool) -> int:
    head, *cells = column
    if is_text:
        return min(LEAST_TEXT, max(map(len, column)))
    return max(CELL_WIDTH if cells and any("." in cell for cell in cells) else 1, *map(len, [*head.split(), *cells]))
