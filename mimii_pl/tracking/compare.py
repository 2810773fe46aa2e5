"""Finished runs side by side: rankings per machine type and data set, as tables for screen, paper and browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_bytes, write_table, write_text
from mimii_pl.report.grid import to_latex, to_markdown, to_rich
from mimii_pl.report.paper import to_pdf
from mimii_pl.report.published import PublishedFigure
from mimii_pl.report.published import published as published_figures
from mimii_pl.report.ranking import RANKING_MEASURES, Ranking, RecordedRun, latest, rankings
from mimii_pl.report.ranking_page import page
from mimii_pl.report.ranking_tables import Tables, csv_rows, tables_of
from mimii_pl.report.repeats import AVERAGED_COSTS
from mimii_pl.tracking.store import finished_runs

COMPARE_COLUMNS = (
    "kind", "data", "machine", "rank", "detector", "model", "backend", "runs",
    *(name for measure in RANKING_MEASURES for name in (measure, f"{measure}_std")),
    "to_first_difference", "to_first_low", "to_first_high", *AVERAGED_COSTS, "run_ids",
)  # fmt: skip


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
    """Read finished runs from MLflow, rank them, show the tables, write `compare.{csv,md,tex,pdf,html}`.

    Args:
        tracking_uri, experiment_name: where the runs are recorded.
        only: group -> the choices that are wanted (`machine: fan`, `model: [dense_ae, idnn]`), and `sweep` -> MLflow's
            ID of a sweep, or `latest`; None: all.
        published: keys of published figures to set below ours, or `all`.
        resamples, seed: of the bootstrap over clips.
        output: the folder that the files go to, each written whole or not at all.

    Raises:
        InputError: nothing is there to compare, or a published figure is asked for that is none.
    """
    if not isinstance(resamples, int) or resamples < 1:
        raise InputError(f"resamples={resamples}: the bootstrap draws the clips once at least; 1000 is usual")
    figures = published_figures(published)
    choices = dict(only or {})
    sweep = choices.pop("sweep", None)
    runs, left_out = finished_runs(tracking_uri, experiment_name, choices, sweep)
    return side_by_side(runs, left_out, figures, resamples=resamples, seed=seed, folder=Path(output))


def side_by_side(
    runs: Sequence[RecordedRun],
    left_out: Sequence[tuple[str, str]],
    figures: Sequence[PublishedFigure],
    *,
    resamples: int,
    seed: int,
    folder: Path,
) -> list[Ranking]:
    """The same for runs that have been read, newest first; `left_out`: (run, reason) of those that cannot be."""
    runs, again = latest(runs)
    left_out = [*left_out, *again]
    if not runs:
        raise InputError(f"none of {len(left_out)} runs can be compared; {left_out[0][0]}: {left_out[0][1]}")
    found = rankings(runs, resamples, seed)
    tables = tables_of(found, figures, resamples)
    folder.mkdir(parents=True, exist_ok=True)
    grids = [*tables.overviews, *tables.rankings, *tables.costs]
    latex = (to_latex(grid, f"tab:compare-{number}") for number, grid in enumerate(grids, start=1))
    write_table(folder / "compare.csv", csv_rows(found, figures), COMPARE_COLUMNS)
    write_text(folder / "compare.md", "\n".join(map(to_markdown, grids)))
    write_text(folder / "compare.tex", "\n".join(["% needs \\usepackage{booktabs}", *latex]))
    write_bytes(folder / "compare.pdf", to_pdf(grids))
    write_text(folder / "compare.html", page(found, tables, left_out))
    _show(tables, left_out, folder)
    return found


def _show(tables: Tables, left_out: Sequence[tuple[str, str]], folder: Path) -> None:
    """Tables on the screen, what the numbers are said once, what was left out and why, where the files are."""
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    pairs = [grid for both in zip(tables.rankings, tables.costs, strict=True) for grid in both]
    for grid in [*pairs, *tables.overviews]:
        console.print(to_rich(grid._replace(note="", apart_note="")))
    for note in filter(None, (tables.note, tables.sources)):
        console.print(note, style="italic", markup=False, highlight=False)
    for run, reason in left_out:
        console.print(f"left out: {run}: {reason}", soft_wrap=True, markup=False, highlight=False)
    for kind in ("csv", "md", "tex", "pdf", "html"):
        console.print(f"{kind:>5}: {folder / f'compare.{kind}'}", soft_wrap=True)
