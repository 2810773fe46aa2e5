"""Tables of rankings: per machine type, over machine types, costs, pairs of detectors, and csv."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from mimii_pl.core.options import REPEATS, split_options
from mimii_pl.report.beaten import beaten_alert, interval_text
from mimii_pl.report.boards import GOAL_HEAD, SENSITIVITY, goal_of
from mimii_pl.report.cost import COST_NOTE, COSTS, cost_cell
from mimii_pl.report.criterion_trust import trust_note
from mimii_pl.report.grid import POINTER, Grid
from mimii_pl.report.published import PublishedFigure
from mimii_pl.report.ranking import Entry, Ranking, ranking_heads
from mimii_pl.report.repeats import AVERAGED_COSTS, spread
from mimii_pl.report.tables import number
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.metrics import arithmetic_mean, measures_of

NO_VALUE = "-"
TO_FIRST_HEAD = "AUC - first [95 %]"
PUBLISHED_NOTE = "Published figures hold for the data and the protocol of their source and are not ranked with ours:"


class Tables(NamedTuple):
    """All tables of a comparison; `rankings`, `costs` and `pairs` have one per ranking.

    `shared` tells what all detectors of a ranking have changed alike, `note` explains the numbers of all tables,
    `sources` names the papers of the published figures.
    """

    overviews: list[Grid]
    rankings: list[Grid]
    costs: list[Grid]
    pairs: list[Grid]
    shared: list[str]
    note: str
    sources: str


def tables_of(rankings: Sequence[Ranking], published: Sequence[PublishedFigure], resamples: int) -> Tables:
    """Make the tables of rankings; published figures of the same machine types are set apart."""
    machines = {ranking.machine for ranking in rankings}
    figures = [figure for figure in published if figure.machine in machines]
    return Tables(
        overviews(rankings, figures),
        [ranking_grid(ranking, figures, resamples) for ranking in rankings],
        [cost_grid(ranking) for ranking in rankings],
        [pairs_grid(ranking) for ranking in rankings],
        list(map(_shared, rankings)),
        caption(rankings, resamples),
        sources(figures),
    )


def ranking_grid(ranking: Ranking, published: Sequence[PublishedFigure], resamples: int) -> Grid:
    """Make the table of one machine type: measures of every detector, best first, and its distance to the first."""
    measures, better = ranking_heads(), ranking.better
    rows = []
    for place, entry in enumerate(ranking.entries):
        to_first = interval_text(ranking.pairs[place, 0]) if place else ""
        name = f"{POINTER} {entry.detector}" if place in better else entry.detector
        rows.append((name, str(len(entry.runs)), *(_spread(entry, name) for name in measures), to_first))
    figures = [figure for figure in published if figure.machine == ranking.machine]
    apart = []
    for paper, of_paper in _papers(figures):
        value = {(figure.metric, figure.id): figure.value for figure in of_paper}
        places = [(measure.metric, measure.summary) for measure in measures_of("comparison")]
        cells = [number(value[place]) if place in value else NO_VALUE for place in places]
        apart.append((paper, NO_VALUE, NO_VALUE, *cells, NO_VALUE))
    heads = ("detector", "runs", *measures.values(), TO_FIRST_HEAD)
    note = f"{_shared(ranking)} {caption([ranking], resamples)}".strip()
    kept = (SENSITIVITY.head, "AUC", TO_FIRST_HEAD)
    alert = beaten_alert({ranking.entries[place].detector: found for place, found in better.items()})
    title = f"{ranking.machine} ({ranking.data})"
    return Grid(
        title,
        heads,
        rows,
        note,
        apart,
        sources(figures),
        alert=alert,
        trust=_trust(ranking),
        pointed=list(better),
        kept=kept,
    )


def _trust(ranking: Ranking) -> str:
    means = [entry.means for entry in ranking.entries]
    values = [of_entry[SENSITIVITY.name] for of_entry in means]
    return trust_note("sensitivity", SENSITIVITY.head, values, list(map(goal_of, means)), GOAL_HEAD)


def _shared(ranking: Ranking) -> str:
    return f"All detectors here: {ranking.shared}." if ranking.shared else ""


def cost_grid(ranking: Ranking) -> Grid:
    """Make the table of costs; columns that no run has are omitted."""
    known = [name for name in AVERAGED_COSTS if any(math.isfinite(entry.means[name]) for entry in ranking.entries)]
    rows = [(entry.detector, *(cost_cell(name, entry.means[name]) for name in known)) for entry in ranking.entries]
    heads = ("detector", *(COSTS[name].head for name in known))
    note = f"Means over runs; each run was timed on its own computer. {COST_NOTE}"
    return Grid(f"Cost, {ranking.machine} ({ranking.data})", heads, rows, note, ranked=False)


def pairs_grid(ranking: Ranking) -> Grid:
    """Make the table of pairs: AUC of each row's detector minus that of each column's."""
    names = [entry.detector for entry in ranking.entries]
    pairs = ranking.pairs
    rows = []
    for row, name in enumerate(names):
        cells = (interval_text(pairs[row, column]) if row != column else NO_VALUE for column in range(len(names)))
        rows.append((name, *cells))
    heads = ("AUC of the row minus that of the column", *names)
    return Grid(f"Every pair, {ranking.machine} ({ranking.data})", heads, rows, ranked=False)


def overviews(rankings: Sequence[Ranking], published: Sequence[PublishedFigure]) -> list[Grid]:
    """Make a table per data set with several machine types: a row per detector, a column per type (AUC / pAUC)."""
    grids = []
    for data, group in groupby(rankings, key=lambda ranking: ranking.data):
        single = [ranking for ranking in group if ranking.machine != "all"]
        if len(single) > 1:
            grids.append(_overview(data, single, published))
    return grids


def _overview(data: str, rankings: Sequence[Ranking], published: Sequence[PublishedFigure]) -> Grid:
    detectors: dict[str, dict[str, dict[str, float]]] = {}
    for ranking in rankings:
        for entry in ranking.entries:
            detectors.setdefault(entry.detector, {})[ranking.machine] = entry.means
    machines = [ranking.machine for ranking in rankings]
    order = sorted(detectors, key=lambda name: _criterion(detectors[name], machines))
    rows = [_across(name, detectors[name], machines) for name in order]
    figures = [figure for figure in published if figure.machine in machines and figure.id == "mean"]
    apart = []
    for paper, of_paper in _papers(figures):
        values: dict[str, dict[str, float]] = {}
        for figure in of_paper:
            values.setdefault(figure.machine, {})[figure.metric] = figure.value
        apart.append(_across(paper, values, machines))
    note = f"AUC / pAUC; ranked by the mean sensitivity over the machine types. {_protocol(rankings)}"
    return Grid(f"All machine types ({data})", ("detector", *machines, "mean"), rows, note, apart, sources(figures))


def _criterion(values: dict[str, dict[str, float]], machines: Sequence[str]) -> tuple[bool, float]:
    """Sort key: detectors evaluated on every machine type first, best first."""
    mean = arithmetic_mean([of_machine[SENSITIVITY.name] for of_machine in values.values()])
    return (any(machine not in values for machine in machines), -mean if math.isfinite(mean) else math.inf)


def _across(name: str, values: dict[str, dict[str, float]], machines: Sequence[str]) -> tuple[str, ...]:
    """Format a row of `_overview`: cells `.851 / .819`, and the mean unless a type is missing."""
    columns = [[values.get(machine, {}).get(metric, math.nan) for machine in machines] for metric in ("auc", "pauc")]
    for column in columns:
        column.append(math.nan if any(map(math.isnan, column)) else arithmetic_mean(column))
    return (name, *(" / ".join(map(_number, pair)) for pair in zip(*columns, strict=True)))


def csv_rows(rankings: Iterable[Ranking], published: Sequence[PublishedFigure]) -> list[dict]:
    """Make the rows of compare.csv, at full precision: per detector, machine type and data set, then published ones."""
    rows = []
    for ranking in rankings:
        for place, entry in enumerate(ranking.entries):
            to_first = ranking.pairs.get((place, 0))
            interval = to_first._asdict() if isinstance(to_first, Interval) else {}
            row = {"kind": "here", "data": ranking.data, "machine": ranking.machine, "rank": place + 1}
            row |= {"detector": entry.detector, "model": entry.model, "backend": entry.backend}
            row |= {"runs": len(entry.runs), "run_ids": " ".join(run.id for run in entry.runs)}
            rows.append(row | entry.means | {f"to_first_{name}": value for name, value in interval.items()})
    machines = {ranking.machine for ranking in rankings}
    for paper, figures in _papers([figure for figure in published if figure.machine in machines]):
        for machine in dict.fromkeys(figure.machine for figure in figures):
            own = [figure for figure in figures if figure.machine == machine]
            means = {figure.metric: figure.value for figure in own if figure.id == "mean"}
            least = {f"min_{figure.metric}": figure.value for figure in own if figure.id == "min"}
            data = own[0].dataset
            rows.append({"kind": "published", "data": data, "machine": machine, "detector": paper, **means, **least})
    return rows


# --- notes -----------------------------------------------------------------------------------------------------------
def caption(rankings: Sequence[Ranking], resamples: int) -> str:
    """Explain the numbers of rankings: protocol, averages, repeats, selection rule and interval."""
    return (
        f"{_protocol(rankings)} AUC - first: difference to the first row with its 95 % interval, paired bootstrap over "
        f"the test clips, drawn within each machine ID and label, {resamples} resamples, mean over runs; * if 0 lies "
        f"outside; {POINTER}: the row is better than the first. One in forty rows as good as the first is so by chance."
    )


def _protocol(rankings: Sequence[Ranking]) -> str:
    runs = [run for ranking in rankings for entry in ranking.entries for run in entry.runs]
    repeats: dict[str, set[str]] = {}
    for run in runs:
        for key, value in split_options(run.options)[1].items():
            if key in ("seed", *(f"protocol.{name}" for name in REPEATS[1:])):
                repeats.setdefault(key.removeprefix("protocol."), set()).add(value)
    repeated = "; ".join(f"{key} {', '.join(sorted(values))}" for key, values in repeats.items())
    selection = "; ".join(sorted({run.selection for run in runs} - {""}))
    splits = {f"protocol {run.options.get('protocol', '')} of {run.options['dataset']}" for run in runs}
    return (
        f"Split: {', '.join(sorted(splits))}. {_measures_note()} ±: standard deviation over runs ({repeated}). "
        f"Checkpoint: {selection}. Ranked by the sensitivity, the mean AUC of faults of graded severity in held-out "
        "normal clips: no test label is read to choose or to rank."
    )


def _measures_note() -> str:
    means, minima = [], []
    for measure in measures_of("comparison"):
        if measure.summary == "mean":
            means.append(f"{measure.head} ({measure.note})" if measure.note else measure.head)
        else:
            minima.append(f"; {measure.head}: {measure.note}")
    listed = f"{', '.join(means[:-1])} and {means[-1]}" if len(means) > 1 else means[0]
    return f"{listed}: arithmetic mean over machine IDs{''.join(minima)}."


def sources(figures: Sequence[PublishedFigure]) -> str:
    """Name the sources of published figures, and list the figures of single machine IDs."""
    texts = []
    for paper, of_paper in _papers(figures):
        per_id = [f for f in of_paper if f.id.startswith("id_") and f.metric == "auc"]
        ids = ", ".join(f"{figure.machine} {figure.id} {number(figure.value)}" for figure in per_id)
        texts.append(f"{paper}: {of_paper[0].dataset}, {of_paper[0].note}" + (f"; AUC {ids}" if ids else "") + ".")
    return " ".join([PUBLISHED_NOTE, *texts]) if texts else ""


def _papers(figures: Sequence[PublishedFigure]) -> list[tuple[str, list[PublishedFigure]]]:
    return [(paper, list(group)) for paper, group in groupby(figures, key=lambda figure: figure.paper)]


def _spread(entry: Entry, name: str) -> str:
    return spread(entry.means, name) if math.isfinite(entry.means[name]) else NO_VALUE


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else NO_VALUE
