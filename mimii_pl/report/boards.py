"""Leaderboards by task: their criterion, columns and notes, and the table of the best run."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from rich.table import Table

from mimii_pl.core.grouping import group_by
from mimii_pl.report import class_leaderboard
from mimii_pl.report.class_tables import each_class
from mimii_pl.report.grid import Grid, ranking_note, to_rich
from mimii_pl.report.tables import results_table
from mimii_pl.scoring.metrics import Measure, measures_of, metrics_of
from mimii_pl.scoring.ranked_by import RANKED_BY
from mimii_pl.scoring.results import Result, read_results

SENSITIVITY = Measure("sensitivity", "sensitivity", "sensitivity", "")  # the criterion, not a metric of the test clips
GOAL_HEAD = "(AUC + pAUC)/2"
SHORT_HEADS = {"sensitivity": "sens.", "min_auc": "min"}  # a leaderboard is wide


class Board(NamedTuple):
    """The leaderboard of a task.

    Attributes:
        labels: columns that name the group in which runs are ranked.
        criterion: column that ranks them; higher is better.
        ranked_by: the criterion in words.
        heads: name -> head of the columns with numbers, the criterion first; also those of `summary.csv`.
        repeated: those of them that the table over repeated runs shows.
        legend: explains the other columns.
        read: (run directory, its configuration, run.json) -> the values of `labels` and `heads`.
        show: (results, title) -> table of the best run.
        goal: (row) -> what users come for, of the test clips, which the criterion stands for.
        goal_head: its name.
        grids: (rows) -> the leaderboard as tables for papers; none for anomaly scores, which `mimii compare` compares.
    """

    labels: tuple[str, ...]
    criterion: str
    ranked_by: str
    heads: dict[str, str]
    repeated: tuple[str, ...]
    legend: str
    read: Callable[[Path, DictConfig, Mapping[str, Any]], dict[str, Any]]
    show: Callable[[Iterable[Result], str], Table]
    goal: Callable[[Mapping[str, Any]], float]
    goal_head: str
    grids: Callable[[Sequence[dict]], list[Grid]]

    def note(self, ranked_by: str = "") -> str:
        """Explain ranks and columns; the runs are ranked by the criterion unless `ranked_by` says otherwise."""
        return f"{ranking_note(self.labels, ranked_by or self.ranked_by)} {self.legend}"


def board_of(row: Mapping[str, Any]) -> Board:
    """Return the leaderboard of a row's `task`, a class."""
    return class_board() if row["task"].is_classification else anomaly_board()


def by_board(rows: Iterable[dict]) -> list[tuple[Board, list[dict]]]:
    """Split rows by the leaderboard they belong to; anomaly scores come first."""
    groups = group_by(rows, lambda row: row["task"].is_classification)
    return [(board_of(groups[key][0]), groups[key]) for key in sorted(groups)]


def anomaly_board() -> Board:
    """Return the leaderboard of runs that give anomaly scores."""
    measures = [SENSITIVITY, *measures_of("leaderboard")]
    repeated = (SENSITIVITY, *measures_of("repeats"))
    return Board(
        labels=("machine",),
        criterion=SENSITIVITY.name,
        ranked_by=RANKED_BY["sensitivity"],
        heads={measure.name: SHORT_HEADS.get(measure.name, measure.head) for measure in measures},
        repeated=tuple(measure.name for measure in repeated),
        legend=_legend(measures[1:]),
        read=_read_measures,
        show=lambda results, title: results_table(results, title=title),
        goal=goal_of,
        goal_head=GOAL_HEAD,
        grids=lambda rows: [],
    )


def goal_of(measures: Mapping[str, Any]) -> float:
    """Return (AUC + pAUC)/2 of the test clips, the mean over machine IDs."""
    return (measures["auc"] + measures["pauc"]) / 2


def _legend(measures: Iterable[Measure]) -> str:
    """Explain the columns: the means together, minima and the level one by one."""
    level = [metric.name for metric in metrics_of("level")]
    means, notes = [], []
    for measure in measures:
        if measure.summary == "mean" and measure.metric not in level:
            means.append(measure.head)
        else:
            notes.append(f"{SHORT_HEADS.get(measure.name, measure.head)}: {measure.note}")
    return "; ".join([f"{', '.join(means)}: mean over machine IDs of the test clips", *notes]) + "."


def _read_measures(run_dir: Path, cfg: DictConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    results = [r for r in read_results(run_dir / "results.csv") if r.machine in ("all", cfg.machine.name)]
    values = {(r.id, r.metric): r.value for r in results}
    columns = {m.name: values.get((m.summary, m.metric), math.nan) for m in measures_of("leaderboard")}
    return {SENSITIVITY.name: facts.get(SENSITIVITY.name, math.nan), **columns}


def class_board() -> Board:
    """Return the leaderboard of classifiers."""
    return Board(
        labels=class_leaderboard.CLASS_LABELS,
        criterion=class_leaderboard.CLASS_CRITERION,
        ranked_by=class_leaderboard.CLASS_RANKED_BY,
        heads=class_leaderboard.CLASS_HEADS,
        repeated=tuple(class_leaderboard.CLASS_HEADS),
        legend=class_leaderboard.CLASS_LEGEND,
        read=class_leaderboard.read_class_measures,
        show=lambda results, title: to_rich(each_class(results, title)),
        goal=lambda row: row["balanced_accuracy"],
        goal_head="balanced accuracy",
        grids=class_leaderboard.grids,
    )
