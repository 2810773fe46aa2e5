"""End a run: write its page, then print its tables, its costs and the paths of its files."""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

from mimii_pl.core.console import Console
from mimii_pl.core.docs import CLASSIFY_GUIDE, RESULTS_GUIDE
from mimii_pl.core.run_dir import read_facts
from mimii_pl.report import class_tables
from mimii_pl.report.class_page import write_class_report
from mimii_pl.report.cost import cost_lines
from mimii_pl.report.false_alarms import false_alarm_grid
from mimii_pl.report.grid import to_rich
from mimii_pl.report.page import PageContent, write_report
from mimii_pl.report.published_comparison import run_comparison
from mimii_pl.report.screen import print_grid
from mimii_pl.report.tables import DECISIONS, results_table
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.sensitivity import NOTICED, in_words, read_sensitivity
from mimii_pl.task import Task
from mimii_pl.task.anomaly import Anomaly
from mimii_pl.task.classification import Classification


@singledispatch
def write_page(task: Task, run_dir: Path, scorer: BaseScorer, content: PageContent) -> None:
    """Write `report.html`, the page of a run.

    Args:
        task: the run's task; each has its own page and tables.
        scorer: loads clips and explains scores.
        content: what it says and shows.
    """
    raise NotImplementedError(f"no page for {type(task).__name__}")


@singledispatch
def show_run(
    task: Task, results: Sequence[Result], criterion: float, run_dir: Path, *, title: str, caption: str
) -> None:
    """Print the tables of a run, its costs and the paths of its files.

    Args:
        task: as for `write_page`.
        title, caption: as in `PageContent`.
        results: of the test clips.
        criterion: computed from held-out clips, to compare runs by.
    """
    raise NotImplementedError(f"no tables for {type(task).__name__}")


@write_page.register
def _write_anomaly(task: Anomaly, run_dir: Path, scorer: BaseScorer, content: PageContent) -> None:
    write_report(run_dir, content, scorer)


@show_run.register
def _show_anomaly(
    task: Anomaly, results: Sequence[Result], criterion: float, run_dir: Path, *, title: str, caption: str
) -> None:
    console, facts = Console(), read_facts(run_dir)
    console.print(results_table(results, title=title, caption=caption))
    origin = f"Threshold per ID: {facts['threshold']}."
    console.print(results_table(results, title="Decisions", caption=origin, sheet=DECISIONS))
    if alarms := false_alarm_grid(run_dir):
        print_grid(console, alarms)
    if comparison := run_comparison(run_dir, results):
        console.print(to_rich(comparison))
    if noticed := read_sensitivity(run_dir / "sensitivity.csv"):
        console.print(f"sensitivity on held-out normal clips: {criterion:.3f}", highlight=False)
        console.print(f"notices (AUC {NOTICED}): {in_words(noticed)}", soft_wrap=True, highlight=False)
    elif "pseudo_auc" in facts:  # of an earlier version
        console.print(f"pseudo-anomaly AUC on held-out normal clips: {facts['pseudo_auc']:.3f}")
    (wrong, normal), (found, anomalous) = facts["false_alarms"], facts["found"]
    counts = f"{wrong} of {normal} normal test clips called anomalous, {found} of {anomalous} anomalous ones"
    console.print(counts, soft_wrap=True)
    _show_files(console, run_dir, {"scores": run_dir / "scores.csv"}, RESULTS_GUIDE)


@write_page.register
def _write_classification(task: Classification, run_dir: Path, scorer: BaseScorer, content: PageContent) -> None:
    write_class_report(run_dir, title=_class_title(task, content.title), caption=_sentence(content.caption))


@show_run.register
def _show_classification(
    task: Classification, results: Sequence[Result], criterion: float, run_dir: Path, *, title: str, caption: str
) -> None:
    console = Console()
    overall = class_tables.all_classes(results, _class_title(task, title), _sentence(caption))
    for grid in (overall, class_tables.each_class(results)):
        console.print(to_rich(grid))
    console.print(f"balanced accuracy on held-out clips: {criterion:.3f}")
    _show_files(console, run_dir, {"clips": run_dir / "predictions.csv"}, CLASSIFY_GUIDE)


def _class_title(task: Classification, title: str) -> str:
    return f"{title}, target={task.target}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _show_files(console: Console, run_dir: Path, files: dict[str, Path], guide: str) -> None:
    if costs := cost_lines(read_facts(run_dir)):
        console.print(costs, highlight=False, soft_wrap=True)
    page = run_dir / "report.html"
    pages = {"report": page} if page.is_file() else {}
    for name, path in {**pages, **files, "run": run_dir, "guide": guide}.items():
        console.print(f"{name:>7}: {path}", soft_wrap=True)
