"""The leaderboard of a sweep: a row per finished run, best first, and what became of the others."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mimii_pl.core.config import class_of, read_config
from mimii_pl.core.options import differences, flatten, identity
from mimii_pl.core.run_dir import read_facts
from mimii_pl.report import class_leaderboard, cost
from mimii_pl.report.repeats import HEADS, TEXT_COLUMNS, summary_table

LEADERBOARD_COLUMNS = (
    "machine", "rank", "model", "backend", "overrides", "objective", "pseudo_auc", "auc", "pauc", "min_auc",
    "level_auc", *class_leaderboard.CLASS_COLUMNS, "epochs", *cost.COSTS, "device", "run",
)  # fmt: skip
LEADERBOARD_NOTE = (
    "Ranked within each machine by the AUC of pseudo-anomalies on held-out normal clips: no test label is read to "
    "rank. AUC, pAUC: mean over machine IDs of the test clips; min: the worst ID; level: AUC of the level alone."
)
_HEADS = HEADS | class_leaderboard.CLASS_HEADS


def collect(sweep_dir: Path) -> tuple[list[dict], list[tuple[str, str, str]]]:
    """Rows of the leaderboard, best first within each machine, and (child, what, why) of those failed or pruned."""
    rows, others = [], []
    children = (path for path in sweep_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
    for child in sorted(children, key=lambda path: _number(path.name)):
        facts, reason = read_facts(child), child / "failed.txt"
        if facts.get("status") == "finished":
            rows.append(_row(child))
        elif facts.get("status") == "pruned":
            others.append((child.name, "pruned", facts["reason"]))
        else:
            told = reason.read_text().strip().splitlines()[-1] if reason.is_file() else "interrupted"
            others.append((child.name, "failed", told))
    _name_differences(rows)
    rows.sort(key=lambda row: (group_of(row), -row["objective"] if math.isfinite(row["objective"]) else math.inf))
    ranks: dict[tuple, int] = {}
    for row in rows:
        ranks[group_of(row)] = row["rank"] = ranks.get(group_of(row), 0) + 1
    return rows, others


def group_of(row: dict) -> tuple[str, str]:
    """What a row is ranked within: its machine and, of classifiers, what they tell apart."""
    return row["machine"], row.get("target", "")


def criterion_of(row: dict) -> str:
    return "pseudo_auc" if "pseudo_auc" in row else class_leaderboard.CLASS_CRITERION


def show_leaderboard(
    rows: list[dict], others: list[tuple[str, str, str]], sweep_dir: Path, repeated: Sequence[dict] = ()
) -> None:
    """The leaderboard on the screen, the best run of each machine per machine ID, and what became of the others."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from mimii_pl.report import published_comparison
    from mimii_pl.report.class_tables import each_class
    from mimii_pl.report.grid import to_rich
    from mimii_pl.report.tables import results_table
    from mimii_pl.scoring.objective import RANKED_BY
    from mimii_pl.scoring.results import read_results

    console = Console()
    varied = [name for name in ("backend", "overrides") if len({row[name] for row in rows}) > 1]
    selection = LEADERBOARD_NOTE
    if asked := sorted({row["asked"] for row in rows} - {"criterion"}):
        varied.append("objective")
        selection = LEADERBOARD_NOTE.replace(RANKED_BY["criterion"], ", ".join(RANKED_BY[name] for name in asked))
    ranking = ("machine", "rank", "model", *varied, "pseudo_auc", "auc", "pauc", "min_auc", "level_auc", "run")
    of_classes = ("machine", "target", "rank", "model", *varied, *class_leaderboard.CLASS_COLUMNS[1:], "run")
    measured = [row for row in rows if math.isfinite(row["ms_per_clip"])]
    for title, caption, columns, listed in (
        ("Leaderboard", selection, ranking, [row for row in rows if "pseudo_auc" in row]),
        (
            "Leaderboard",
            class_leaderboard.CLASS_LEADERBOARD_NOTE,
            of_classes,
            [row for row in rows if "pseudo_auc" not in row],
        ),
        ("Cost of training", "", ("run", "model", "epochs", *cost.TRAINING_FIGURES), rows),
        ("Cost of scoring", cost.COST_NOTE, ("run", "model", *cost.SCORING_FIGURES), measured),
    ):
        if not listed:
            continue
        table = Table(title=title, caption=caption, caption_justify="left", box=None, padding=(0, 1))
        for column in columns:
            head, wraps = _HEADS.get(column, column), column == "overrides"
            table.add_column(
                head, justify="left" if column in TEXT_COLUMNS else "right", overflow="fold" if wraps else "ellipsis",
                no_wrap=not wraps, min_width=None if column in (*TEXT_COLUMNS, "rank", "run") else max(5, len(head)),
            )  # fmt: skip
        for row in listed:
            style = "bold" if row["rank"] == 1 else None
            table.add_row(*(_cell(column, row[column]) for column in columns), style=style)
        console.print(table)
    if repeated:
        console.print(summary_table(repeated))
    for row in rows:
        if row["rank"] == 1:
            title = f"best on {', '.join(filter(None, group_of(row)))}: {row['model']}, run {row['run']}"
            results = read_results(sweep_dir / row["run"] / "results.csv")
            of_class = "pseudo_auc" not in row
            console.print(to_rich(each_class(results, title)) if of_class else results_table(results, title=title))
    if beside := published_comparison.sweep_comparison(sweep_dir, rows):
        console.print(to_rich(beside))
    for child, what, reason in others:
        style = "bold red" if what == "failed" else "yellow"
        console.print(f"[{style}]{what}[/] {escape(f'{child}: {reason}')}", soft_wrap=True)
    console.print(f"leaderboard: {sweep_dir / 'leaderboard.csv'}", soft_wrap=True)


def _cell(column: str, value: Any) -> str:
    if column == "run":
        return str(value).split("-")[0]
    if column in cost.COSTS:
        return cost.cost_cell(column, value)
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 10 else f"{value:.3f}"


def _row(child: Path) -> dict:
    cfg, facts = read_config(child), read_facts(child)
    of_classes = class_of(cfg.task).is_classification
    row = {
        "machine": cfg.machine.name,
        "model": cfg.choices.model,
        "backend": cfg.choices.backend,
        **(class_leaderboard.measures if of_classes else _measures)(child, cfg, facts),
        **{name: facts.get(name, math.nan) for name in ("epochs", *cost.COSTS)},
        "device": facts.get("device", ""),
        "run": child.name,
        "config": _flat(cfg),
        "group": identity(cfg),
        "asked": cfg.get("objective", "criterion"),
    }
    return row | {"objective": facts.get("objective", row[criterion_of(row)])}


def _measures(child: Path, cfg: DictConfig, facts: dict[str, Any]) -> dict[str, Any]:
    from mimii_pl.scoring.results import read_results

    values = {
        (r.id, r.metric): r.value for r in read_results(child / "results.csv") if r.machine in ("all", cfg.machine.name)
    }
    return {
        "pseudo_auc": facts["pseudo_auc"],
        "auc": values.get(("mean", "auc"), math.nan),
        "pauc": values.get(("mean", "pauc"), math.nan),
        "min_auc": values.get(("min", "auc"), math.nan),
        "level_auc": values.get(("mean", "level_auc"), math.nan),
    }


def _name_differences(rows: list[dict]) -> None:
    """Write into each row's `overrides` the options in which runs of one detector differ."""
    for model in {row["model"] for row in rows}:
        peers = [row for row in rows if row["model"] == model]
        for row, options in zip(peers, differences([row["config"] for row in peers]), strict=True):
            row["overrides"] = options


def _flat(cfg: DictConfig) -> dict[str, str]:
    skipped = (
        "run_dir", "threads", "choices.", "target", "protocol.target", "dataset.seed", "machine.", "backend",
        "trainer.", "sweep.",
    )  # fmt: skip
    return {key: value for key, value in flatten(cfg).items() if not key.startswith(skipped)}


def _number(name: str) -> tuple[int, str]:
    head = name.split("-")[0]
    return (int(head) if head.isdigit() else 1_000_000, name)
