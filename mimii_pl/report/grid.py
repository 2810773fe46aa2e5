"""A table of text, formatted for the terminal, as markdown and as LaTeX."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
}


class Grid(NamedTuple):
    """Rows of cells below heads; the first column names the row.

    Attributes:
        note: explains the numbers.
        apart: rows that are not part of the order; `apart_note` explains their numbers.
        ranked: whether the best row comes first.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    apart: Sequence[tuple[str, ...]] = ()
    apart_note: str = ""
    ranked: bool = True


def ranking_note(labels: Sequence[str], ranked_by: str) -> str:
    """Tell in which groups the runs of a leaderboard are ranked, and by what."""
    return f"Ranked within each {' and '.join(labels)} by {ranked_by}: no test label is read to rank."


def to_rich(grid: Grid) -> Table:
    """Format for the terminal: the best row in bold, rows set apart in italics below a line."""
    caption = " ".join(part for part in (grid.note, grid.apart_note) if part)
    table = Table(title=grid.title, caption=caption, box=SIMPLE_HEAD, caption_justify="left", padding=(0, 1))
    for position, head in enumerate(grid.heads):
        table.add_column(head, justify="right" if position else "left", overflow="fold", no_wrap=position > 0)
    for number, row in enumerate(grid.rows, start=1):
        bold = "bold" if grid.ranked and number == 1 else None
        table.add_row(*row, style=bold, end_section=number == len(grid.rows))
    for row in grid.apart:
        table.add_row(*row, style="italic")
    return table


def to_markdown(grid: Grid) -> str:
    """Format as markdown: a heading, the table, the note; rows set apart are a table of their own."""
    parts = [f"## {grid.title}", _markdown(grid.heads, grid.rows), grid.note]
    if grid.apart:
        parts += ["### Published", _markdown(grid.heads, grid.apart), grid.apart_note]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, (":--", *["--:"] * (len(heads) - 1)), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def to_latex(grid: Grid, label: str) -> str:
    """Format as a `table*` of LaTeX (`\\usepackage{booktabs}`); rows set apart follow below a rule."""
    caption = latex(f"{grid.title}. {grid.note} {grid.apart_note}".strip())
    lines = [
        r"\begin{table*}",
        r"\centering",
        r"\small",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.heads) - 1)}}}",
        r"\toprule",
        _latex(grid.heads),
        r"\midrule",
        *map(_latex, grid.rows),
    ]
    if grid.apart:
        span = rf"\multicolumn{{{len(grid.heads)}}}{{l}}{{\emph{{Published}}}} \\"
        lines += [r"\midrule", span, *map(_latex, grid.apart)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _latex(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(latex, cells))} \\\\"


def latex(text: str) -> str:
    """Escape text for LaTeX, and set the signs of numbers in math mode."""
    text = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.)}])([+-])(?=[.\d])", r"$\1$", text)
