"""A table of text, formatted for the terminal, as markdown and as LaTeX."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

POINTER = "▲"  # before the name of a row that is pointed at
POINTED_STYLE = "bold red"
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
    "▲": r"$\triangle$",
    "<": "$<$",
    ">": "$>$",
}


class Grid(NamedTuple):
    """Rows of cells below heads; the first column names the row.

    Attributes:
        note: explains the numbers.
        apart: rows that are not part of the order; `apart_note` explains their numbers.
        ranked: whether the best row comes first.
        alert: what must not be overlooked, shown before the rows; its first line is a head.
        trust: how far the order of the rows can be trusted.
        pointed: numbers of the rows, from 0, that are pointed at.
        kept: heads of columns that a narrow screen does not omit, besides the first.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    apart: Sequence[tuple[str, ...]] = ()
    apart_note: str = ""
    ranked: bool = True
    alert: str = ""
    trust: str = ""
    pointed: Collection[int] = ()
    kept: Collection[str] = ()


def ranking_note(labels: Sequence[str], ranked_by: str) -> str:
    """Tell in which groups the runs of a leaderboard are ranked, and by what."""
    return f"Ranked within each {' and '.join(labels)} by {ranked_by}: no test label is read to rank."


def to_rich(grid: Grid, widths: Mapping[int, int] | None = None) -> Table:
    """Format for the terminal: the best row in bold, rows pointed at in colour, rows set apart in italics below a line.

    Args:
        widths: position -> characters of the columns that are shown; None: all of them.
    """
    caption = " ".join(part for part in (grid.trust, grid.note, grid.apart_note) if part)
    table = Table(title=grid.title, caption=caption, box=SIMPLE_HEAD, caption_justify="left", padding=(0, 1, 0, 0))
    shown = range(len(grid.heads)) if widths is None else list(widths)
    for position in shown:
        justify: JustifyMethod = "right" if position else "left"
        wraps = not position or widths is not None
        width = None if widths is None else widths[position]
        table.add_column(grid.heads[position], justify=justify, overflow="fold", no_wrap=not wraps, width=width)
    for number, row in enumerate(grid.rows):
        style = POINTED_STYLE if number in grid.pointed else "bold" if grid.ranked and number == 0 else None
        table.add_row(*(row[position] for position in shown), style=style, end_section=number == len(grid.rows) - 1)
    for row in grid.apart:
        table.add_row(*(row[position] for position in shown), style="italic")
    return table


def to_markdown(grid: Grid) -> str:
    """Format as markdown: a heading, the table, the note; rows set apart are a table of their own."""
    alert = "\n".join(f"> {line}  " for line in grid.alert.splitlines())
    parts = [f"## {grid.title}", alert, grid.trust, _markdown(grid.heads, grid.rows), grid.note]
    if grid.apart:
        parts += ["### Published", _markdown(grid.heads, grid.apart), grid.apart_note]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, (":--", *["--:"] * (len(heads) - 1)), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def to_latex(grid: Grid, label: str) -> str:
    """Format as a `table*` of LaTeX (`\\usepackage{booktabs}`); rows set apart follow below a rule."""
    alert = " ".join(grid.alert.splitlines())
    caption = latex(" ".join(filter(None, (f"{grid.title}.", alert, grid.trust, grid.note, grid.apart_note))))
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
