"""Rankings as tables of text: per machine type, over machine types, what they cost, pair by pair, and as csv."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from mimii_pl.core.options import REPEATS, split_options
from mimii_pl.report.cost import COST_NOTE, COSTS, cost_cell
from mimii_pl.report.grid import Grid
from mimii_pl.report.published import PublishedFigure
from mimii_pl.report.ranking import RANKING_MEASURES, Entry, Ranking
from mimii_pl.report.repeats import AVERAGED_COSTS, spread
from mimii_pl.report.tables import number
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.metrics import arithmetic_mean

RANKING_HEADS = {
    "pseudo_auc": "pseudo AUC", "auc": "AUC", "pauc": "pAUC", "pr_auc": "PR-AUC", "min_auc": "min AUC",
}  # fmt: skip
NO_VALUE = "-"
PUBLISHED_NOTE = "Published figures stand for the data and the protocol of their source and are not ranked among ours:"


class Tables(NamedTuple):
    """Everything that is shown of rankings; `rankings`, `costs` and `pairs` have one per ranking.

    `note` and `sources` say what the numbers are and where published ones come from, for all of them at once.
    """

    overviews: list[Grid]
    rankings: list[Grid]
    costs: list[Grid]
    pairs: list[Grid]
    note: str
    sources: str


def tables_of(rankings: Sequence[Ranking], published: Sequence[PublishedFigure], resamples: int) -> Tables:
    """Tables of rankings, with published figures of the machine types compared set apart."""
    machines = {ranking.machine for ranking in rankings}
    figures = [figure for figure in published if figure.machine in machines]
    return Tables(
        overviews(rankings, figures),
        [ranking_grid(ranking, figures, resamples) for ranking in rankings],
        [cost_grid(ranking) for ranking in rankings],
        [pairs_grid(ranking) for ranking in rankings],
        caption(rankings, resamples),
        sources(figures),
    )


def ranking_grid(ranking: Ranking, published: Sequence[PublishedFigure], resamples: int) -> Grid:
    """One machine type: measures of every detector, best first, and how far the first one is ahead of it."""
    rows = [
        (
            entry.detector,
            str(len(entry.runs)),
            *(_spread(entry, name) for name in RANKING_MEASURES),
            _behind(ranking, place),
        )
        for place, entry in enumerate(ranking.entries)
    ]
    figures = [figure for figure in published if figure.machine == ranking.machine]
    apart = []
    for paper, of_paper in _papers(figures):
        value = {(figure.metric, figure.id): figure.value for figure in of_paper}
        places = (("auc", "mean"), ("pauc", "mean"), ("pr_auc", "mean"), ("auc", "min"))
        cells = [number(value[place]) if place in value else NO_VALUE for place in places]
        apart.append((paper, NO_VALUE, NO_VALUE, *cells, NO_VALUE))
    heads = ("detector", "runs", *(RANKING_HEADS[name] for name in RANKING_MEASURES), "AUC - first [95 %]")
    note = caption([ranking], resamples)
    return Grid(f"{ranking.machine} ({ranking.data})", heads, rows, note, apart, sources(figures))


def cost_grid(ranking: Ranking) -> Grid:
    """What every detector costs, as far as its runs say; columns that no run has are left out."""
    known = [name for name in AVERAGED_COSTS if any(math.isfinite(entry.means[name]) for entry in ranking.entries)]
    rows = [(entry.detector, *(cost_cell(name, entry.means[name]) for name in known)) for entry in ranking.entries]
    heads = ("detector", *(COSTS[name].head for name in known))
    note = f"Means over runs; times are those of the machine each run was on. {COST_NOTE}"
    return Grid(f"Cost, {ranking.machine} ({ranking.data})", heads, rows, note, ranked=False)


def pairs_grid(ranking: Ranking) -> Grid:
    """AUC of each row's detector minus that of each column's."""
    names = [entry.detector for entry in ranking.entries]
    rows = [
        (name, *(NO_VALUE if row == column else _interval(ranking.pairs[row, column]) for column in range(len(names))))
        for row, name in enumerate(names)
    ]
    heads = ("AUC of the row minus that of the column", *names)
    return Grid(f"Every pair, {ranking.machine} ({ranking.data})", heads, rows, ranked=False)


def overviews(rankings: Sequence[Ranking], published: Sequence[PublishedFigure]) -> list[Grid]:
    """Per data set with several machine types: one row per detector, a column per type (AUC / pAUC), and their mean."""
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
    note = f"AUC / pAUC; ranked by the mean pseudo AUC over the machine types. {_protocol(rankings)}"
    return Grid(f"All machine types ({data})", ("detector", *machines, "mean"), rows, note, apart, sources(figures))


def _criterion(values: dict[str, dict[str, float]], machines: Sequence[str]) -> tuple[bool, float]:
    """Those that were judged on every machine type first, the best of them first."""
    mean = arithmetic_mean([of_machine["pseudo_auc"] for of_machine in values.values()])
    return (any(machine not in values for machine in machines), -mean if math.isfinite(mean) else math.inf)


def _across(name: str, values: dict[str, dict[str, float]], machines: Sequence[str]) -> tuple[str, ...]:
    """Cells `.851 / .819`; the mean only where no type is missing."""
    columns = [[values.get(machine, {}).get(metric, math.nan) for machine in machines] for metric in ("auc", "pauc")]
    for column in columns:
        column.append(math.nan if any(map(math.isnan, column)) else arithmetic_mean(column))
    return (name, *(" / ".join(map(_number, cost_cell)) for cost_cell in zip(*columns, strict=True)))


def csv_rows(rankings: Iterable[Ranking], published: Sequence[PublishedFigure]) -> list[dict]:
    """Every number at full precision: a row per detector, machine type and data set, then the published figures."""
    rows = []
    for ranking in rankings:
        for place, entry in enumerate(ranking.entries):
            found = ranking.pairs.get((place, 0))
            sure = found._asdict() if isinstance(found, Interval) else {}
            rows.append({
                "kind": "here", "data": ranking.data, "machine": ranking.machine, "rank": place + 1,
                "detector": entry.detector, "model": entry.model, "backend": entry.backend, "runs": len(entry.runs),
                **entry.means, **{f"to_first_{name}": value for name, value in sure.items()},
                "run_ids": " ".join(run.id for run in entry.runs),
            })  # fmt: skip
    machines = {ranking.machine for ranking in rankings}
    for paper, figures in _papers([figure for figure in published if figure.machine in machines]):
        for machine in dict.fromkeys(figure.machine for figure in figures):
            own = [figure for figure in figures if figure.machine == machine]
            means = {figure.metric: figure.value for figure in own if figure.id == "mean"}
            least = {f"min_{figure.metric}": figure.value for figure in own if figure.id == "min"}
            data = own[0].dataset
            rows.append({"kind": "published", "data": data, "machine": machine, "detector": paper, **means, **least})
    return rows


# --- words -----------------------------------------------------------------------------------------------------------
def caption(rankings: Sequence[Ranking], resamples: int) -> str:
    """What the numbers of a ranking are: protocol, averages, repeats, selection rule, and what the interval is."""
    return (
        f"{_protocol(rankings)} AUC - first: difference to the first row with its 95 % interval, paired bootstrap over "
        f"the test clips, drawn within each machine ID and label, {resamples} resamples, mean over runs; * where 0 "
        "lies outside."
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
    split = ", ".join(
        sorted({f"protocol {run.options.get('protocol', '')} of {run.options['dataset']}" for run in runs})
    )
    return (
        f"Split: {split}. AUC, pAUC (false-positive rate up to .1, chance .5) and PR-AUC: arithmetic mean over machine "
        f"IDs; min AUC: the worst ID. ±: standard deviation over runs ({repeated}). Checkpoint: {selection}. Ranked by "
        "the AUC of pseudo-anomalies on held-out normal clips (pseudo AUC): no test label is read to choose or to rank."
    )


def sources(figures: Sequence[PublishedFigure]) -> str:
    """Where published figures come from, and those of single machine IDs."""
    texts = []
    for paper, of_paper in _papers(figures):
        per_id = [f for f in of_paper if f.id.startswith("id_") and f.metric == "auc"]
        ids = ", ".join(f"{figure.machine} {figure.id} {number(figure.value)}" for figure in per_id)
        texts.append(f"{paper}: {of_paper[0].dataset}, {of_paper[0].note}" + (f"; AUC {ids}" if ids else "") + ".")
    return " ".join([PUBLISHED_NOTE, *texts]) if texts else ""


def _papers(figures: Sequence[PublishedFigure]) -> list[tuple[str, list[PublishedFigure]]]:
    return [(paper, list(group)) for paper, group in groupby(figures, key=lambda figure: figure.paper)]


def _behind(ranking: Ranking, place: int) -> str:
    return _interval(ranking.pairs[place, 0]) if place else ""


def _interval(found: Interval | str) -> str:
    if isinstance(found, str):
        return found
    difference, low, high = (number(abs(value)) if value >= 0 else f"-{number(-value)}" for value in found)
    return f"{difference} [{low}, {high}]" + " *" * found.is_clear


def _spread(entry: Entry, name: str) -> str:
    return spread(entry.means, name) if math.isfinite(entry.means[name]) else NO_VALUE


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else NO_VALUE
