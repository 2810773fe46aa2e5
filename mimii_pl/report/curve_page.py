"""`mimii curve`: would more normal sound help? A learning curve of a finished run: table, sentence, page."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from mimii_pl.core.config import build_data
from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_csv, write_text
from mimii_pl.core.freeze import open_stored
from mimii_pl.core.grouping import group_by
from mimii_pl.core.run_dir import find_run, refuse_fused
from mimii_pl.dataset._learned_from import clip_changes
from mimii_pl.report.cost import digits
from mimii_pl.report.figures import BLUE, Image, blank, drawing
from mimii_pl.report.grid import Grid
from mimii_pl.report.screen import print_grid
from mimii_pl.report.tables import number
from mimii_pl.report.template import template
from mimii_pl.scoring.learning_curve import CurvePoint, LearningCurve
from mimii_pl.scoring.load_run import load_detector

SMALL_GAIN = 0.01  # sensitivity: less by doubling the sound is not worth recording it
LAST_POINTS = 3  # points of the curve that tell what a doubling gains


class Amount(NamedTuple):
    """The mean over folds for one amount of sound, and its standard deviation; NaN for one fold."""

    minutes: float
    clips: float
    recordings: float
    sensitivity: float
    spread: float


def curve(
    *,
    run: str,
    output: str | None = "curve.html",
    table: str | None = "curve.csv",
    folds: int = 5,
    clips: int | None = 64,
    device: str = "auto",
    trust: Sequence[str] = (),
) -> list[CurvePoint]:
    """Draw the learning curve of a finished run whose detector is not trained: print a table and write a page.

    Args:
        run: a run directory, or `latest`.
        output: the page; None: write none.
        table: the CSV, a row for each amount of sound and fold; None: write none.
        folds: of recordings, each of which is held out once.
        clips: of a fold that faults are put into, at most; None: all.
        device: `auto` takes a GPU if there is one.
        trust: packages, besides this one, whose classes the run may name.

    Returns:
        The points of the curve.

    Raises:
        InputError: there is no such run, it is trained or has no back end, or has too few recordings.
    """
    if type(folds) is not int or folds < 2 or (clips is not None and (type(clips) is not int or clips < 1)):
        raise InputError(f"folds={folds} clips={clips}: whole numbers, at least 2 folds and 1 clip (null: all clips)")
    for option, file in (("output", output), ("table", table)):
        if file is not None:
            require_writable(Path(file).parent, f"{option}=<another file>", [Path(file).name])
    run_dir = find_run(run).resolve()
    refuse_fused(run_dir, "Draw the curve of one of its members")
    cfg = open_stored(run_dir, trust)
    scorer = load_detector(run_dir, device=device, trust=trust)
    if not scorer.detector.training_free or scorer.backend is None:
        same = shlex.quote(f"dataset.root={cfg.dataset.root}")
        raise InputError(
            f"run={run_dir} is of a detector that is trained, and would have to be anew for every point of the curve. "
            "Draw that of one that is not, in seconds: mimii train model=committee "
            f"dataset={cfg.choices.get('dataset', '')} {same}, then mimii curve run=latest"
        )
    data = build_data(cfg)
    data.setup()
    points = LearningCurve(scorer, data, folds=folds, limit=clips).points()
    amounts = averaged(points)
    verdict = sentence(points)
    if changes := clip_changes(data, run_dir):
        verdict += f" The recordings are not those of the run: {changes}."
    grid = as_curve_grid(amounts, verdict)
    console = Console()
    print_grid(console, grid)
    if table is not None:
        write_csv(Path(table), CurvePoint._fields, ([*point[:5], repr(point.sensitivity)] for point in points))
        console.print(f"table: {Path(table).resolve()}", soft_wrap=True)
    if output is not None:
        title = f"Learning curve of {cfg.choices.get('model', '')} on {cfg.machine.name}"
        page = template("curve.html.j2").render(title=title, caption=str(run_dir), grid=grid, figure=figure_of(amounts))
        write_text(Path(output), page)
        console.print(f" page: {Path(output).resolve()}", soft_wrap=True)
    return points


def averaged(points: Sequence[CurvePoint]) -> list[Amount]:
    """Return the mean over folds of each share of the sound that every fold has, the smallest first."""
    folds = len({point.fold for point in points})
    amounts = []
    for _, own in sorted(group_by(points, lambda point: point.share).items()):
        if len(own) == folds:
            values = [point.sensitivity for point in own]
            minutes, clips, recordings = (fmean(point[place] for point in own) for place in (1, 2, 3))
            spread = stdev(values) if len(own) > 1 else math.nan
            amounts.append(Amount(minutes, clips, recordings, fmean(values), spread))
    return amounts


def sentence(points: Sequence[CurvePoint]) -> str:
    """Tell whether more sound would help, by what each of the last doublings gained, the slope in each fold.

    The gain counts if it is `SMALL_GAIN` or more, and more than twice its standard error over the folds.
    """
    last = [own[-LAST_POINTS:] for own in group_by(points, lambda point: point.fold).values() if len(own) > 1]
    if not last:
        return "Too few clips for two points of a curve: record more, or shorten dataset.seconds."
    gains = [_slope(own) for own in last]
    gain = fmean(gains)
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.inf
    first, end = (fmean(own[place].minutes for own in last) for place in (0, -1))
    if gain >= SMALL_GAIN and gain > 2 * error:
        verdict = "more normal sound would probably help"
    elif abs(gain) + 2 * error < SMALL_GAIN:
        verdict = "more normal sound of the same kind would hardly help; other states of the machine might"
    else:
        verdict = "whether more normal sound would help cannot be told"
    spread = f" ± {2 * error:.3f}" if math.isfinite(error) else ""
    return (
        f"From {digits(first)} to {digits(end)} minutes per machine ID, a doubling changed the sensitivity by "
        f"{gain:+.3f}{spread}: {verdict}."
    )


def _slope(own: Sequence[CurvePoint]) -> float:
    """Return the change of the sensitivity per doubling of the sound, by least squares."""
    slope, _ = np.polyfit(np.log2([point.minutes for point in own]), [point.sensitivity for point in own], 1)
    return float(slope)


def as_curve_grid(amounts: Sequence[Amount], verdict: str) -> Grid:
    """Lay out the curve as a table, with its sentence."""
    rows: list[tuple[str, ...]] = [
        (digits(one.minutes), f"{one.clips:.0f}", f"{one.recordings:.0f}", number(one.sensitivity), f"{one.spread:.3f}")
        for one in amounts
    ]
    note = (
        "Minutes: normal sound per machine ID that the back end is fitted to. Sensitivity: mean AUC of faults of "
        "graded severity, put into held-out normal clips; ±: standard deviation over folds of recordings."
    )
    heads = ("minutes", "clips", "recordings", "sensitivity", "±")
    return Grid("Learning curve", heads, rows, note, ranked=False, trust=verdict, kept=("sensitivity",))


def figure_of(amounts: Sequence[Amount]) -> Image:
    """Draw the sensitivity over the minutes of normal sound, doubling along the axis."""
    figure, axes = blank("minutes of normal sound per machine ID", "sensitivity")
    minutes, values = [one.minutes for one in amounts], [one.sensitivity for one in amounts]
    spread = [0 if math.isnan(one.spread) else one.spread for one in amounts]
    axes.errorbar(minutes, values, yerr=spread, marker="o", color=BLUE, capsize=3, label="mean ± deviation over folds")
    axes.set_xscale("log", base=2)
    axes.set_xticks(minutes, [digits(value) for value in minutes], fontsize=8)
    axes.minorticks_off()
    words = ", ".join(f"{number(one.sensitivity)} with {digits(one.minutes)} minutes" for one in amounts)
    return drawing(figure, f"Learning curve: sensitivity {words}.", columns=1)
