"""The leaderboard of a sweep: a row per finished run, best first, and the runs that failed or were pruned."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mimii_pl.core.config import task_class
from mimii_pl.core.docs import SEARCH_GUIDE
from mimii_pl.core.errors import InputError
from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import differences, flatten, identity, split_options
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.report import cost
from mimii_pl.report.beaten import beaten_alert
from mimii_pl.report.boards import Board, anomaly_board, board_of, by_board, class_board
from mimii_pl.report.criterion_trust import trust_note
from mimii_pl.report.grid import POINTED_STYLE, POINTER
from mimii_pl.report.ranking import clearly_better, paired_differences, split_by_role
from mimii_pl.report.repeats import TEXT_COLUMNS, summary_cells
from mimii_pl.report.row_names import data_names, detector_names
from mimii_pl.report.screen import LEAST_NAME, LEAST_TEXT, fit_columns, omitted_words
from mimii_pl.scoring.bootstrap import Interval
from mimii_pl.scoring.ranked_by import RANKED_BY
from mimii_pl.scoring.scores import read_scores

if TYPE_CHECKING:
    from mimii_pl.core.console import Console
    from mimii_pl.task import Task

COST_HEADS = {"rank": "#", "name": "detector", **{name: figure.head for name, figure in cost.COSTS.items()}}
TO_FIRST = tuple(f"to_first_{name}" for name in Interval._fields)  # AUC minus that of the first row, with its interval
RESAMPLES = 1000  # of the bootstrap over clips
Other = tuple[str, str, str]  # run, `failed` or `pruned`, reason


def leaderboard_columns() -> tuple[str, ...]:
    """Return the columns of `leaderboard.csv`; those of the other task stay empty."""
    described = ("machine", "rank", "detector", "model", "backend", "overrides", "objective", *TO_FIRST)
    classes = class_board()
    numbers = (*anomaly_board().heads, *classes.labels[1:], *classes.heads)
    return (*described, *numbers, "epochs", *cost.COSTS, "device", "run")


def collect(sweep_dir: Path, trust: Collection[str] = ()) -> tuple[list[dict], list[Other]]:
    """Read the runs of a sweep: rows of the leaderboard, best first within each group, and those without a row.

    Args:
        trust: packages, besides this one, whose class a run's task may be.
    """
    rows, others = [], []
    children = (path for path in sweep_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
    for child in sorted(children, key=lambda path: _run_number(path.name)):
        try:
            facts, reason = read_facts(child), child / "failed.txt"
            if facts.get("status") == "finished":
                rows.append(_row(child, trust))
                continue
        except InputError as error:  # damaged, or not trusted: the others have their rows
            others.append((child.name, "failed", str(error)))
            continue
        if facts.get("status") == "pruned":
            others.append((child.name, "pruned", facts["reason"]))
        else:
            cause = reason.read_text().strip().splitlines()[-1] if reason.is_file() else "interrupted"
            others.append((child.name, "failed", cause))
    _name_differences(rows)
    shared = _name_rows(rows)
    rows.sort(key=lambda row: (group_of(row), -row["objective"] if math.isfinite(row["objective"]) else math.inf))
    for ranked in group_by(rows, group_of).values():
        for place, row in enumerate(ranked, start=1):
            row["rank"] = place
        _compare_with_first(ranked, sweep_dir)
    for row in rows:
        row["shared"] = shared
    return rows, others


def group_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the group in which a row is ranked: its machine and, for classifiers, their target."""
    return row["machine"], row.get("target", "")


def show_leaderboard(rows: list[dict], others: Sequence[Other], sweep_dir: Path, repeated: Sequence[dict] = ()) -> None:
    """Print the leaderboard, the best run of each group in detail, and the runs that failed or were pruned."""
    from rich.text import Text

    from mimii_pl.core.console import Console
    from mimii_pl.report.grid import to_rich
    from mimii_pl.report.published_comparison import sweep_comparison
    from mimii_pl.scoring.results import read_results

    console = Console()
    for board, listed in by_board(rows):
        _print_board(console, board, listed)
    measured = [row for row in rows if math.isfinite(row["ms_per_clip"])]
    _print_costs(console, "Cost of training", "", ("run", "name", "epochs", *cost.TRAINING_FIGURES), rows)
    columns = ("run", "name", *cost.SCORING_FIGURES)
    _print_costs(console, "Cost of scoring", cost.COST_NOTE, columns, measured)
    for board, lines in by_board(repeated):
        note = "Mean ± standard deviation over seeds, folds or left-out IDs."
        _print_cells(console, "Over repeated runs", note, summary_cells(board, lines), where="summary.csv")
    for row in rows:
        if row["rank"] == 1:
            title = f"best on {', '.join(filter(None, group_of(row)))}: {row['name']}, run {row['run']}"
            results = read_results(sweep_dir / row["run"] / "results.csv")
            console.print(board_of(row).show(results, title))
    if comparison := sweep_comparison(sweep_dir, rows):
        console.print(to_rich(comparison))
    for child, outcome, reason in others:
        style = "bold red" if outcome == "failed" else "yellow"
        console.print(Text(outcome, style), f"{child}: {reason}", soft_wrap=True)
    console.print(f"leaderboard: {sweep_dir / 'leaderboard.csv'}", soft_wrap=True)
    console.print(f"guide: {SEARCH_GUIDE}", soft_wrap=True)


def _print_board(console: "Console", board: Board, rows: Sequence[dict]) -> None:
    from mimii_pl.report.screen import print_alert

    objectives = sorted({row["asked"] for row in rows} - {"criterion", *(row["task"].criterion for row in rows)})
    columns = (*board.labels, "rank", "name", *(["objective"] if objectives else []), *board.heads, "run")
    notes = [board.note(", ".join(RANKED_BY[name] for name in objectives))]
    notes += [f"All rows: {shared}." for shared in {row["shared"] for row in rows} - {""}]
    for group, listed in group_by(rows, group_of).items():
        better = clearly_better({place: _interval(row) for place, row in enumerate(listed)})
        name = ", ".join(filter(None, group))
        print_alert(console, beaten_alert({listed[place]["name"]: found for place, found in better.items()}, name))
        values, goals = [row["objective"] for row in listed], [board.goal(row) for row in listed]
        if trust := trust_note(listed[0]["asked"], _ranked_head(board, listed), values, goals, board.goal_head):
            console.print(f"{name}: {trust}", highlight=False)
    pointed = [row for row in rows if row["to_first_low"] > 0]
    if pointed:
        notes.append(
            f"{POINTER}: better than the first row on the test clips, by the 95 % interval (paired bootstrap)."
        )
    cells = _cells(columns, rows, COST_HEADS | board.heads)
    cells["name"] = [
        f"{POINTER} {cell}" if row in pointed else cell for row, cell in zip([None, *rows], cells["name"], strict=True)
    ]
    styles = [POINTED_STYLE if row in pointed else "bold" if row["rank"] == 1 else None for row in rows]
    _print_cells(console, "Leaderboard", " ".join(notes), cells, styles)


def _ranked_head(board: Board, rows: Sequence[dict]) -> str:
    return board.heads[board.criterion] if rows[0]["asked"] in ("criterion", board.criterion) else "objective"


def _print_costs(console: "Console", title: str, note: str, columns: Sequence[str], rows: Sequence[dict]) -> None:
    styles = ["bold" if row["rank"] == 1 else None for row in rows]
    _print_cells(console, title, note, _cells(columns, rows, COST_HEADS), styles)


def _cells(columns: Sequence[str], rows: Sequence[dict], heads: Mapping[str, str]) -> dict[str, list[str]]:
    """Return rows as text: column -> its head and cells."""
    return {name: [heads.get(name, name), *(_cell(name, row[name]) for row in rows)] for name in columns}


def _print_cells(
    console: "Console",
    title: str,
    caption: str,
    cells: Mapping[str, list[str]],
    styles: Sequence[str | None] = (),
    where: str = "leaderboard.csv",
) -> None:
    from rich.table import Table

    count = len(next(iter(cells.values()))) - 1
    if not count:
        return
    least = dict.fromkeys(TEXT_COLUMNS, LEAST_TEXT) | dict.fromkeys(("name", "detector"), LEAST_NAME)
    widths = fit_columns(cells, least, (*TEXT_COLUMNS, "name", "rank", "run"), console.width)
    table = Table(title=title, box=None, padding=(0, 1))
    for name, width in widths.items():
        justify: Any = "left" if name in least else "right"
        table.add_column(cells[name][0], justify=justify, overflow="fold", width=width)
    for row in range(count):
        table.add_row(*(cells[name][row + 1] for name in widths), style=styles[row] if styles else None)
    console.print(table)
    omitted = omitted_words([column[0] for name, column in cells.items() if name not in widths], where)
    if caption := f"{caption} {omitted}".strip():
        console.print(caption, style="table.caption", highlight=False)


def _cell(column: str, value: Any) -> str:
    if column == "run":
        return str(value).split("-")[0]
    if column in cost.COSTS:
        return cost.cost_cell(column, value)
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return cost.MISSING
    return f"{value:.0f}" if value >= 10 else f"{value:.3f}"


def _row(child: Path, trust: Collection[str]) -> dict:
    cfg, facts = read_config(child), read_facts(child)
    task: type[Task] = task_class(cfg, trust)
    row: dict[str, Any] = {
        "task": task,
        "machine": cfg.machine.name,
        "model": cfg.choices.model,
        "backend": cfg.choices.backend,
        "device": facts.get("device", ""),
        "run": child.name,
        "config": _own_options(cfg),
        "group": identity(cfg),
        "options": {key: str(value) for key, value in {**flatten(cfg), **cfg.choices}.items()},
        "asked": cfg.get("objective", "criterion"),
    }
    board = board_of(row)
    row |= board.read(child, cfg, facts)
    row |= {name: facts.get(name, math.nan) for name in ("epochs", *cost.COSTS)}
    return row | {"objective": facts.get("objective", row[board.criterion])}


def _name_differences(rows: list[dict]) -> None:
    """Write into the `overrides` of each row the options in which the runs of its detector differ."""
    for peers in group_by(rows, lambda row: row["model"]).values():
        for row, options in zip(peers, differences([row["config"] for row in peers]), strict=True):
            row["overrides"] = options


def _name_rows(rows: list[dict]) -> str:
    """Write `detector` and `name` of each row: without and with what repeats it; return what all of them share."""
    roles = [split_by_role(row["options"]) for row in rows]
    clips = [of_clips for of_clips, _ in roles]
    configs = [{key: value for key, value in own.items() if key != "target"} for _, own in roles]
    data = [{"data": name} for name in data_names([_without_target(of_clips) for of_clips in clips])]
    repeats = []
    for row in rows:
        again = split_options(row["options"])[1]
        seed = again.get("seed")
        repeats.append({key: value for key, value in again.items() if key == "seed" or value != seed})
    named = detector_names(configs, clips, data)
    both = [{**one, **other} for one, other in zip(data, repeats, strict=True)]
    with_repeats = detector_names(configs, clips, both).names
    for row, detector, name in zip(rows, named.names, with_repeats, strict=True):
        row |= {"detector": detector, "name": name}
    return named.shared


def _without_target(of_clips: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in of_clips.items() if key != "protocol.target"}  # it has a column of its own


def _compare_with_first(ranked: Sequence[dict], sweep_dir: Path) -> None:
    """Write into rows, best first, their difference in AUC to the first row; NaN where there is none."""
    scored = []
    for row in ranked:
        try:
            scored.append([read_scores(sweep_dir / row["run"] / "scores.csv")])
        except InputError:  # a classifier, or damaged: it has its row
            scored.append([])
    pairs = paired_differences(scored, RESAMPLES, seed=0, to_first=True) if scored[0] else {}
    for place, row in enumerate(ranked):
        found = pairs.get((place, 0))
        values = found if isinstance(found, Interval) else (math.nan,) * len(TO_FIRST)
        row |= dict(zip(TO_FIRST, values, strict=True))


def _interval(row: Mapping[str, Any]) -> Interval:
    return Interval(*(row[name] for name in TO_FIRST))


def _own_options(cfg: DictConfig) -> dict[str, str]:
    """Return the options that may tell runs of one detector apart; others have columns of their own."""
    skipped = (
        "run_dir",
        "threads",
        "choices.",
        "target",
        "protocol.target",
        "dataset.seed",
        "machine.",
        "backend",
        "trainer.",
        "sweep.",
    )
    return {key: value for key, value in flatten(cfg).items() if not key.startswith(skipped)}


def _run_number(name: str) -> tuple[int, str]:
    head = name.split("-")[0]
    return (int(head) if head.isdigit() else 1_000_000, name)
