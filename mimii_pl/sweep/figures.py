"""Figures of a search: its history, and the importance of each option."""

import io
import math
import warnings
from itertools import accumulate
from pathlib import Path
from typing import Any

import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from mimii_pl.core.files import write_bytes, write_csv
from mimii_pl.report.figures import BLUE, BROWN, GREY

STYLES = {  # marker, colour and label of a trial by its state
    TrialState.COMPLETE: ("o", BLUE, "finished"),
    TrialState.PRUNED: ("x", GREY, "pruned"),
    TrialState.FAIL: ("v", BROWN, "failed"),
}
FIGURE_FILES = ("trials.csv", "history.png", "importance.png")


def write_figures(study: optuna.Study, folder: Path) -> None:
    """Write `trials.csv` (a row per trial), `history.png` and, if `importance` is defined, `importance.png`."""
    _write_trials(study, folder / "trials.csv")
    _save(history_figure(study), folder / "history.png")
    if shares := importance(study):
        finished = len(study.get_trials(states=[TrialState.COMPLETE]))
        _save(_importance_figure(shares, finished), folder / "importance.png")


def history_figure(study: optuna.Study) -> Figure:
    """Draw the objective of each trial in the order of their start, and the best so far."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    done = [(trial.number, trial.value) for trial in study.trials if trial.value is not None and _is_done(trial)]
    values = [value for _, value in done]
    low, high = min(values, default=0.0), max(values, default=1.0)
    floor = low - 0.1 * (high - low or 0.1)
    for state, (marker, colour, label) in STYLES.items():
        points = [(trial.number, floor) for trial in study.trials if trial.state is state]
        points = done if state is TrialState.COMPLETE else points
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=f"{label}, {len(points)}")
    best = list(accumulate(values, max))
    axes.step([number for number, _ in done], best, where="post", color=BROWN, linewidth=1.2, label="best so far")
    axes.set(xlabel="trial (at the bottom: trials without a value)", ylabel="objective, higher is better")
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def importance(study: optuna.Study) -> dict[str, float]:
    """Compute the share of the objective's variance that each option explains, largest first.

    Functional ANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014). Empty unless finished trials differ in their objective.
    """
    values = {trial.value for trial in study.get_trials(states=[TrialState.COMPLETE])}
    if len(values) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: share for name, share in shares.items() if math.isfinite(share)}


def _importance_figure(shares: dict[str, float], trials: int) -> Figure:
    figure = Figure(figsize=(7, 1 + 0.35 * len(shares)), layout="constrained")
    axes = figure.subplots()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color="#9ecae1", edgecolor=BLUE)
    axes.bar_label(bars, [f"{100 * shares[name]:.0f} %" for name in names], padding=3, fontsize=9)
    axes.set(xlim=(0, 1.1), xlabel=f"share of the objective's variance over {trials} finished trials (fANOVA)")
    return figure


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=130)
    write_bytes(path, drawn.getvalue())


def _write_trials(study: optuna.Study, path: Path) -> None:
    trials = study.trials
    names = sorted({name for trial in trials for name in trial.params})
    columns = ("trial", "state", "objective", "last_look", "seconds")
    rows = [[*_row(trial).values(), *(trial.params.get(name, "") for name in names)] for trial in trials]
    write_csv(path, (*columns, *names), rows)


def _is_done(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.COMPLETE


def _row(trial: FrozenTrial) -> dict[str, Any]:
    seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
    epoch = max(trial.intermediate_values, default=None)  # the last one that was reported
    value = repr(trial.value) if _is_done(trial) else ""
    reported = "" if epoch is None else epoch + 1
    state = trial.state.name.lower()
    return {"trial": trial.number, "state": state, "objective": value, "last_look": reported, "seconds": seconds}
