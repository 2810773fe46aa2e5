"""The leaderboard at the end of a sweep: on the screen and in its directory."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mimii_pl.core.files import write_table, write_text
from mimii_pl.report.boards import by_board
from mimii_pl.report.grid import to_latex, to_markdown
from mimii_pl.report.leaderboard import collect, leaderboard_columns, show_leaderboard
from mimii_pl.report.repeats import summarise, summary_columns


def write_leaderboards(sweep_dir: Path, trust: Collection[str]) -> tuple[list[dict[str, Any]], int]:
    """Write and print the leaderboards of a sweep; return their rows, and the number of runs that failed.

    Args:
        trust: packages whose classes its runs may name.
    """
    rows, others = collect(sweep_dir, trust)
    write_table(sweep_dir / "leaderboard.csv", rows, leaderboard_columns())
    if grids := [grid for board, listed in by_board(rows) for grid in board.grids(listed)]:
        write_text(sweep_dir / "leaderboard.md", "\n".join(map(to_markdown, grids)))
        tables = [to_latex(grid, f"tab:classifiers-{place}") for place, grid in enumerate(grids, start=1)]
        write_text(sweep_dir / "leaderboard.tex", "\n".join(tables))
    if repeated := summarise(rows):
        write_table(sweep_dir / "summary.csv", repeated, summary_columns(repeated))
    show_leaderboard(rows, others, sweep_dir, repeated)
    return rows, sum(outcome == "failed" for _, outcome, _ in others)
