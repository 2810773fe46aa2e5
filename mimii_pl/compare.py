"""Finished runs side by side: rankings per machine type and data set, as tables for screen, paper and browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimii_pl import _run_dir
from mimii_pl.errors import InputError
from mimii_pl.report._ranking import COST, MEASURES, Ranking, latest, rankings
from mimii_pl.tracking._store import Recorded, finished_runs

if TYPE_CHECKING:
    from mimii_pl.report._published import Published

COLUMNS = (
    "kind", "data", "machine", "rank", "detector", "model", "backend", "runs",
    *(name for measure in MEASURES for name in (measure, f"{measure}_std")),
    "to_first_difference", "to_first_low", "to_first_high", *COST, "run_ids",
)  # fmt: skip


def compare(
    *,
    tracking_uri: str,
    experiment_name: str = "mimii_pl",
    only: Mapping[str, Any] | None = None,
    sweep: str | None = None,
    published: str | Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    output: str | Path = "outputs/compare",
) -> list[Ranking]:
    """Read finished runs from MLflow, rank them, show the tables, write `compare.{csv,md,tex,html}`.

    Args:
        tracking_uri, experiment_name: where the runs are recorded.
        only: group -> the choices that are wanted (`machine: fan`, `model: [dense_ae, idnn]`); None: all.
        sweep: MLflow's id of a sweep, or `latest`; None: every run.
        published: keys of published figures to set below ours, or `all`.
        resamples, seed: of the bootstrap over clips.
        output: the folder that the files go to, each written whole or not at all.

    Raises:
        InputError: nothing is there to compare, or a published figure is asked for that is none.
    """
    from mimii_pl.report import _published

    if resamples < 1:
        raise InputError(f"resamples={resamples}: the bootstrap draws the clips once at least; 1000 is usual")
    figures = _published.published(published)
    runs, left_out = finished_runs(tracking_uri, experiment_name, only, sweep)
    return side_by_side(runs, left_out, figures, resamples=resamples, seed=seed, folder=Path(output))


def side_by_side(
    runs: Sequence[Recorded], left_out: Sequence[tuple[str, str]], figures: Sequence["Published"], *, resamples: int,
    seed: int, folder: Path,
) -> list[Ranking]:  # fmt: skip
    """The same for runs that have been read, newest first; `left_out`: (run, reason) of those that cannot be."""
    from mimii_pl.report._ranking_page import page

    runs, again = latest(runs)
    left_out = [*left_out, *again]
    if not runs:
        raise InputError(f"none of {len(left_out)} runs can be compared; {left_out[0][0]}: {left_out[0][1]}")
    found = rankings(runs, resamples, seed)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, found, figures, resamples)
    _run_dir.write_text(folder / "compare.html", page(found, figures, left_out, resamples))
    _show(found, figures, left_out, resamples, folder)
    return found


def _write(folder: Path, found: Sequence[Ranking], figures: Sequence["Published"], resamples: int) -> None:
    from mimii_pl.report._grid import to_latex, to_markdown
    from mimii_pl.report._ranking_tables import cost_grid, csv_rows, overviews, ranking_grid
    from mimii_pl.tracking._sweep import write_table

    write_table(folder / "compare.csv", csv_rows(found, figures), COLUMNS)
    grids = [*overviews(found, figures), *(ranking_grid(ranking, figures, resamples) for ranking in found)]
    costs = [cost_grid(ranking) for ranking in found]
    _run_dir.write_text(folder / "compare.md", "\n".join(to_markdown(grid) for grid in [*grids, *costs]))
    tables = (to_latex(grid, f"tab:compare-{number}") for number, grid in enumerate([*grids, *costs], start=1))
    _run_dir.write_text(folder / "compare.tex", "\n".join(["% needs \\usepackage{booktabs}", *tables]))


def _show(
    found: Sequence[Ranking],
    figures: Sequence["Published"],
    left_out: Sequence[tuple[str, str]],
    resamples: int,
    folder: Path,
) -> None:
    from rich.console import Console
    from rich.markup import escape

    from mimii_pl.report._grid import to_rich
    from mimii_pl.report._ranking_tables import caption, cost_grid, overviews, ranking_grid, sources

    console = Console()
    console = console if console.is_terminal else Console(width=120)
    grids = [grid for one in found for grid in (ranking_grid(one, figures, resamples), cost_grid(one))]
    for grid in [*grids, *overviews(found, figures)]:
        console.print(to_rich(grid._replace(note="", apart_note="")))
    machines = {ranking.machine for ranking in found}
    notes = (caption(found, resamples), sources([figure for figure in figures if figure.machine in machines]))
    for note in filter(None, notes):
        console.print(note, style="italic", markup=False, highlight=False)
    for run, reason in left_out:
        console.print(f"[bold]left out[/] {escape(run)}: {escape(reason)}", soft_wrap=True)
    for name in ("csv", "md", "tex", "html"):
        console.print(f"{name:>5}: {folder / f'compare.{name}'}", soft_wrap=True)
