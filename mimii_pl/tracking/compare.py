"""Compare finished runs: rankings per machine type and data set, as tables for screen, paper and browser."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimii_pl.core.console import Console
from mimii_pl.core.docs import RESULTS_GUIDE
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_bytes, write_table, write_text
from mimii_pl.report.grid import to_latex, to_markdown
from mimii_pl.report.paper import to_pdf
from mimii_pl.report.published import PublishedFigure
from mimii_pl.report.published import published as published_figures
from mimii_pl.report.ranking import Ranking, RecordedRun, latest, ranking_heads, rankings
from mimii_pl.report.ranking_page import page
from mimii_pl.report.ranking_tables import Tables, csv_rows, tables_of
from mimii_pl.report.repeats import AVERAGED_COSTS
from mimii_pl.report.screen import print_grid
from mimii_pl.tracking.recorded_runs import finished_runs

PAGE_WIDTH = 100  # characters of a line where the output is no terminal
COMPARE_KINDS = ("csv", "md", "tex", "pdf", "html")  # of the files that are written


def compare_columns() -> tuple[str, ...]:
    """Return the columns of `compare.csv`."""
    described = ("kind", "data", "machine", "rank", "detector", "model", "backend", "runs")
    measures = [name for measure in ranking_heads() for name in (measure, f"{measure}_std")]
    to_first = ("to_first_difference", "to_first_low", "to_first_high")
    return (*described, *measures, *to_first, *AVERAGED_COSTS, "run_ids")


def compare(
    *,
    tracking_uri: str,
    experiment_name: str = "mimii_pl",
    only: Mapping[str, Any] | None = None,
    published: str | Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    output: str | Path = "outputs/compare",
) -> list[Ranking]:
    """Read finished runs from MLflow, rank them, print the tables and write `compare.{csv,md,tex,pdf,html}`.

    Args:
        tracking_uri, experiment_name: MLflow store and experiment of the runs.
        only: group -> choices to compare (`machine: fan`, `model: [dense_ae, idnn]`), and `sweep` -> MLflow's ID of a
            sweep, or `latest`; None: all.
        published: keys of published figures to add below ours, or `all`.
        resamples, seed: of the bootstrap over clips.
        output: folder of the files, which are written atomically.

    Raises:
        InputError: there is no run to compare, or no published figure of such a key.
    """
    if not isinstance(resamples, int) or resamples < 1:
        raise InputError(f"resamples={resamples} must be an integer of at least 1; 1000 is usual")
    require_writable(Path(output), "output=<another folder>", [f"compare.{kind}" for kind in COMPARE_KINDS])
    figures = published_figures(published)
    choices = dict(only or {})
    sweep = choices.pop("sweep", None)
    runs, skipped = finished_runs(tracking_uri, experiment_name, choices, sweep)
    return side_by_side(runs, skipped, figures, resamples=resamples, seed=seed, folder=Path(output))


def side_by_side(
    runs: Sequence[RecordedRun],
    skipped: Sequence[tuple[str, str]],
    figures: Sequence[PublishedFigure],
    *,
    resamples: int,
    seed: int,
    folder: Path,
) -> list[Ranking]:
    """Do the same for runs that have been read, newest first; `skipped`: (run, reason) of those that could not be."""
    runs, superseded = latest(runs)
    skipped = [*skipped, *superseded]
    if not runs:
        raise InputError(f"none of {len(skipped)} runs can be compared; {skipped[0][0]}: {skipped[0][1]}")
    ranked = rankings(runs, resamples, seed)
    tables = tables_of(ranked, figures, resamples)
    folder.mkdir(parents=True, exist_ok=True)
    grids = [*tables.overviews, *tables.rankings, *tables.costs]
    latex = (to_latex(grid, f"tab:compare-{number}") for number, grid in enumerate(grids, start=1))
    write_table(folder / "compare.csv", csv_rows(ranked, figures), compare_columns())
    write_text(folder / "compare.md", "\n".join(map(to_markdown, grids)))
    write_text(folder / "compare.tex", "\n".join(["% needs \\usepackage{booktabs}", *latex]))
    write_bytes(folder / "compare.pdf", to_pdf(grids))
    write_text(folder / "compare.html", page(ranked, tables, skipped))
    _show(tables, skipped, folder)
    return ranked


def _show(tables: Tables, skipped: Sequence[tuple[str, str]], folder: Path) -> None:
    """Print the tables, one shared note, the runs that were skipped and why, and the paths of the files."""
    console = Console()
    console = console if console.is_terminal or "COLUMNS" in os.environ else Console(width=PAGE_WIDTH)
    rankings = [grid._replace(note=note) for grid, note in zip(tables.rankings, tables.shared, strict=True)]
    costs = [grid._replace(note="") for grid in tables.costs]
    pairs = [grid for both in zip(rankings, costs, strict=True) for grid in both]
    for grid in [*pairs, *(grid._replace(note="") for grid in tables.overviews)]:
        print_grid(console, grid._replace(apart_note=""), "compare.csv")
    for note in filter(None, (tables.note, tables.sources)):
        console.print(note, style="italic", highlight=False)
    for run, reason in skipped:
        console.print(f"skipped: {run}: {reason}", soft_wrap=True, highlight=False)
    for kind in COMPARE_KINDS:
        console.print(f"{kind:>5}: {folder / f'compare.{kind}'}", soft_wrap=True)
    console.print(f"guide: {RESULTS_GUIDE}", soft_wrap=True)
