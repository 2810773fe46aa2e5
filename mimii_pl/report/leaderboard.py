"""The leaderboard of a sweep: a row per finished run, best first, and the runs that failed or were pruned."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mimii_pl.core.config import task_class
from mimii_pl.core.docs import SEARCH_GUIDE
from mimii_pl.core.errors import InputError
from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import differences, flatten, identity
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.report import cost
from mimii_pl.report.boards import Board, anomaly_board, board_of, by_board, class_board
from mimii_pl.report.repeats import TEXT_COLUMNS, summary_table
from mimii_pl.report.screen import fit_columns
from mimii_pl.scoring.objective import RANKED_BY

if TYPE_CHECKING:
    from mimii_pl.core.console import Console
    from mimii_pl.task import Task

COST_HEADS = {"rank": "#", **{name: figure.head for name, figure in cost.COSTS.items()}}
Other = tuple[str, str, str]  # run, `failed` or `pruned`, reason


def leaderboard_columns() -> tuple[str, ...]:
    """Return the columns of `leaderboard.csv`; those of the other task stay empty."""
    described = ("machine", "rank", "model", "backend", "overrides", "objective")
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
    rows.sort(key=lambda row: (group_of(row), -row["objective"] if math.isfinite(row["objective"]) else math.inf))
    for ranked in group_by(rows, group_of).values():
        for place, row in enumerate(ranked, start=1):
            row["rank"] = place
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
    varied = [name for name in ("backend", "overrides") if len({row[name] for row in rows}) > 1]
    for board, listed in by_board(rows):
        _print_board(console, board, varied, listed)
    measured = [row for row in rows if math.isfinite(row["ms_per_clip"])]
    _print_rows(console, "Cost of training", "", ("run", "model", "epochs", *cost.TRAINING_FIGURES), rows, COST_HEADS)
    columns = ("run", "model", *cost.SCORING_FIGURES)
    _print_rows(console, "Cost of scoring", cost.COST_NOTE, columns, measured, COST_HEADS)
    for board, lines in by_board(repeated):
        console.print(summary_table(board, lines))
    for row in rows:
        if row["rank"] == 1:
            title = f"best on {', '.join(filter(None, group_of(row)))}: {row['model']}, run {row['run']}"
            results = read_results(sweep_dir / row["run"] / "results.csv")
            console.print(board_of(row).show(results, title))
    if comparison := sweep_comparison(sweep_dir, rows):
        console.print(to_rich(comparison))
    for child, outcome, reason in others:
        style = "bold red" if outcome == "failed" else "yellow"
        console.print(Text(outcome, style), f"{child}: {reason}", soft_wrap=True)
    console.print(f"leaderboard: {sweep_dir / 'leaderboard.csv'}", soft_wrap=True)
    console.print(f"guide: {SEARCH_GUIDE}", soft_wrap=True)


def _print_board(console: "Console", board: Board, varied: Sequence[str], rows: Sequence[dict]) -> None:
    objectives = sorted({row["asked"] for row in rows if row["asked"] not in ("criterion", row["task"].criterion)})
    note = board.note(", ".join(RANKED_BY[name] for name in objectives))
    if objectives:
        varied = [*varied, "objective"]
    columns = (*board.labels, "rank", "model", *varied, *board.heads, "run")
    _print_rows(console, "Leaderboard", note, columns, rows, COST_HEADS | board.heads)


def _print_rows(
    console: "Console",
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Iterable[dict],
    heads: Mapping[str, str],
) -> None:
    from rich.table import Table

    rows = list(rows)
    if not rows:
        return
    cells = {name: [heads.get(name, name), *(_cell(name, row[name]) for row in rows)] for name in columns}
    widths = fit_columns(cells, TEXT_COLUMNS, (*TEXT_COLUMNS, "rank", "run"), console.width)
    table = Table(title=title, box=None, padding=(0, 1))
    for name, width in widths.items():
        justify: Any = "left" if name in TEXT_COLUMNS else "right"
        table.add_column(cells[name][0], justify=justify, overflow="fold", width=width)
    for place, row in enumerate(rows, start=1):
        table.add_row(*(cells[name][place] for name in widths), style="bold" if row["rank"] == 1 else None)
    console.print(table)
    if omitted := [cells[name][0] for name in columns if name not in widths]:
        caption = f"{caption} Omitted here, but in leaderboard.csv: {', '.join(omitted)}.".strip()
    if caption:
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
