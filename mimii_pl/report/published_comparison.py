"""Published / Here: published figures next to a run's own results."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.report.grid import Grid
from mimii_pl.report.published import PublishedFigure, published
from mimii_pl.report.tables import DECISIONS, RANKING, SUMMARY_NAMES, number
from mimii_pl.scoring.metrics import SUMMARIES, arithmetic_mean
from mimii_pl.scoring.results import Result, read_results

COMPARISON_HEADS = ("machine ID", "metric", "Published", "Here", "difference", "source")
SUMMARY_LABELS = SUMMARY_NAMES | {"max": "maximum"}
NO_FIGURE = "-"


def run_comparison(run_dir: Path, results: Sequence[Result]) -> Grid | None:
    """Make the table of a run directory; None where its configuration names no published figures for its machines."""
    config = run_dir / "config.yaml"
    cfg = read_config(run_dir) if config.is_file() else OmegaConf.create()
    grid = compare_published(cfg.get("published"), OmegaConf.select(cfg, "choices.dataset", default=""), results)
    if grid is None or not any(row[1] in DECISIONS.metrics.values() for row in grid.rows):
        return grid
    return grid._replace(note=f"{grid.note} Threshold here: {read_facts(run_dir).get('threshold', 'not recorded')}.")


def sweep_comparison(sweep_dir: Path, rows: Sequence[Mapping]) -> Grid | None:
    """Make the table over the machine types of a sweep, from the run of each type that is ranked first."""
    first = [sweep_dir / row["run"] for row in rows if row["rank"] == 1]
    results = [result for run in first for result in read_results(run / "results.csv") if result.machine != "all"]
    grid = run_comparison(first[0], results) if first else None
    if grid is None or len(first) == 1:  # the run itself has shown it
        return None
    return grid._replace(note=f"Here: the first run of each machine type. {grid.note}")


def compare_published(keys: Sequence[str] | None, dataset: str, results: Sequence[Result]) -> Grid | None:
    """Compare published figures with results; None where no figure is of the same machine types.

    Args:
        keys: of papers; None: none.
        dataset: data set of the results, `dcase2020`.
        results: of one machine type or several.
    """
    machines = {result.machine for result in results}
    here = _here(results)
    figures = published(keys, {*machines, "all"})
    figures = [figure for figure in figures if figure.machine != "all" or _same_types(figure, machines)]
    if not figures:
        return None
    heads = RANKING.metrics | DECISIONS.metrics
    order = [*dict.fromkeys(result.machine for result in results if result.machine != "all"), "all"]
    rows: list[tuple[str, ...]] = []
    for figure in sorted(figures, key=lambda figure: order.index(figure.machine)):
        value = here.get(figure[3:6], math.nan)
        machine = "all types" if figure.machine == "all" else figure.machine
        name = f"{machine} {SUMMARY_LABELS.get(figure.id, figure.id)}"
        numbers = (_cell(figure.value), _cell(value), _cell(value - figure.value))
        rows.append((name, heads.get(figure.metric, figure.metric), *numbers, figure.key))
    return Grid("Published / Here", COMPARISON_HEADS, rows, _note(figures, dataset), ranked=False)


def _here(results: Sequence[Result]) -> dict[tuple[str, str, str], float]:
    """Return values by machine, ID and metric, with the maximum over IDs and the mean over types added."""
    here = {result[:3]: result.value for result in results}
    for machine, name, metric in list(here):
        if name == "mean" and machine != "all":
            ids = [r.value for r in results if (r.machine, r.metric) == (machine, metric) and r.id not in SUMMARIES]
            here[machine, "max", metric] = max((value for value in ids if math.isfinite(value)), default=math.nan)
    for name, metric in {key[1:] for key in here if key[1] in ("mean", "max")}:
        types = [value for (machine, *rest), value in here.items() if rest == [name, metric] and machine != "all"]
        here.setdefault(("all", name, metric), arithmetic_mean(types))
    return here


def _same_types(figure: PublishedFigure, machines: set[str]) -> bool:
    """Return whether a published mean over machine types is over the types of these results."""
    types = {other.machine for other in published([figure.key])} - {"all"}
    return types == machines - {"all"}


def _note(figures: Sequence[PublishedFigure], dataset: str) -> str:
    sources = {figure.key: f"{figure.key}: {figure.paper}; {figure.dataset}, {figure.note}." for figure in figures}
    other = {figure.dataset for figure in figures} - {dataset}
    warning = f" Other data here: {dataset} is not {' or '.join(sorted(other))}, so the difference proves nothing."
    return " ".join(sources.values()) + (warning if other else "")


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return NO_FIGURE
    return number(value) if value >= 0 else f"-{number(-value)}"
