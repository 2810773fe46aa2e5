"""The page of a run: `report.html`, a self-contained file made from the files of the run directory."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import damaged
from mimii_pl.core.files import stored_rows, write_text
from mimii_pl.core.grouping import group_by
from mimii_pl.core.helper import Helper, Pending, helper
from mimii_pl.core.prefetch import prefetch
from mimii_pl.core.run_dir import read_facts
from mimii_pl.report.clips import HeardClips, hear_clips, show_clips
from mimii_pl.report.cost import COST_NOTE, cost_rows
from mimii_pl.report.embedding import PlacedClips, map_of_id, place_clips
from mimii_pl.report.false_alarms import false_alarm_grid
from mimii_pl.report.fault_curves import fault_panels, machine_id_lines
from mimii_pl.report.figures import (
    Image,
    distribution,
    draw_panels,
    precision_recall_figure,
    roc_figure,
    training_curve,
)
from mimii_pl.report.neighbours import NormalClips
from mimii_pl.report.published_comparison import run_comparison
from mimii_pl.report.tables import (
    DECISIONS,
    RANKING,
    Sheet,
    headlines,
    short_names,
    table_columns,
    table_note,
    table_rows,
)
from mimii_pl.report.template import template
from mimii_pl.scoring import metrics
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.results import Result, read_results
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.scores import ClipScore, read_scores
from mimii_pl.scoring.sensitivity import Noticed, in_words, read_sensitivity, sensitivity_of
from mimii_pl.task._passes import MAP_CLIPS
from mimii_pl.threshold._threshold import Thresholds

ListedClips = tuple[str, str, list[ClipScore]]  # title, what they are, the clips
CLIPS_LISTED = 5  # clips per list by name, where none are shown with sound


class PageContent(NamedTuple):
    """Content of the page of a run besides its results.

    Attributes:
        title: names the run; the name of the run directory if empty.
        caption: selection rule of the checkpoint and the seed, shown with every table.
        clips: number of clips with spectrogram, location of the anomaly and sound, per list and machine ID.
        seconds: length of each clip that can be played, at most.
        places: of the clips on the map, if the run has begun it (`begin_map`).
    """

    title: str = ""
    caption: str = ""
    clips: int = 0
    seconds: float = 10.0
    places: Pending[PlacedClips | None] | None = None


TABLES_ALONE = PageContent()


def begin_map(helper: Helper, run_dir: Path) -> Pending[PlacedClips | None]:
    """Have the clips of `embeddings.npz` placed on a map, which takes seconds, while the run goes on."""
    return helper.submit(place_clips, run_dir / "embeddings.npz", MAP_CLIPS)


def write_report(run_dir: Path, content: PageContent = TABLES_ALONE, scorer: BaseScorer | None = None) -> Path:
    """Write `report.html` from `scores.csv`, `results.csv` and the other files of the run directory.

    Args:
        content: what it says and shows.
        scorer: of the run, to show clips; None: list names.
    """
    title, caption, clips, seconds, places = content
    scored = read_scores(run_dir / "scores.csv")
    results = read_results(run_dir / "results.csv")
    config, kept = run_dir / "config.yaml", run_dir / "thresholds.json"
    thresholds = Thresholds.read(kept) if kept.is_file() else None
    noticed = read_sensitivity(run_dir / "sensitivity.csv")
    normal_clips = None
    if isinstance(scorer, Scorer) and clips and (run_dir / "embeddings.npz").is_file():
        normal_clips = NormalClips(run_dir / "embeddings.npz", scorer)
    ranked = group_by(sorted(scored, key=lambda clip: (*clip[:2], -clip.score)), lambda clip: clip[:2])
    lists = {key: _lists(own, clips or CLIPS_LISTED) for key, own in ranked.items()}

    machines = {key: _machine(*key, results, own, thresholds, lists[key]) for key, own in ranked.items()}
    with helper() as second:

        def hear(key: tuple[str, str]) -> HeardClips | None:
            chosen = list(dict.fromkeys(clip for *_, listed in lists[key] for clip in listed))
            return (
                hear_clips(scorer, ranked[key], chosen, seconds, normal_clips, second)
                if scorer and clips and chosen
                else None
            )

        places = places or begin_map(second, run_dir)
        curves = [second.submit(training_curve, *curve) for curve in training_lines(run_dir / "history.csv")]
        panels, alt = fault_panels(machine_id_lines(noticed))
        faults = second.submit(draw_panels, panels, alt) if panels else None
        figures = {
            key: {name: second.submit(*call) for name, call in _figures(ranked[key], machine["threshold"]).items()}
            for key, machine in machines.items()
        }
        shown = {}
        with closing(prefetch(hear, ranked, depth=2, threads=1)) as hearing:  # clips of the next ID, in a thread
            for key, heard in zip(with_bar(list(machines), "explaining clips"), hearing, strict=True):
                shown[key] = show_clips(heard) if heard else {}
        placed = places.result()
        maps = {key: second.submit(map_of_id, placed, key, ranked[key]) for key in ranked if placed}
        for key in with_bar(list(machines)[::-1], "drawing the report"):  # from the end: the helper began at the front
            machines[key] |= {name: figure.result() for name, figure in figures[key].items()}
            machines[key]["shown"] = {file: drawn() for file, drawn in shown[key].items()}
        sensitivity = _sensitivity(noticed, faults)
        training = [curve.result() for curve in curves]
        for key, machine in machines.items():
            machine["map"] = maps[key].result() if maps else None
    tables = [_table("All results", results, caption)]
    if any(result.metric in DECISIONS.metrics for result in results):
        origin = f"Threshold per machine ID: {thresholds.origin}." if thresholds else ""
        tables.append(_table("Decisions", results, origin, DECISIONS))
    page = template("page.html.j2").render(
        title=title or run_dir.resolve().name,
        caption=caption,
        headlines=headlines(results),
        tables=tables,
        false_alarms=false_alarm_grid(run_dir),
        comparison=run_comparison(run_dir, results),
        machines=list(machines.values()),
        sensitivity=sensitivity,
        identified=_identified(run_dir / "identified.csv"),
        efficiency=cost_rows(read_facts(run_dir)),
        efficiency_note=COST_NOTE,
        training=training,
        config=config.read_text("utf-8") if config.is_file() else "",
    )
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _table(name: str, results: list[Result], caption: str, sheet: Sheet = RANKING) -> dict:
    return {
        "name": name,
        "columns": table_columns(results, sheet),
        "rows": table_rows(results, sheet),
        "note": table_note(results, caption, sheet),
    }


def _machine(
    machine: str,
    name: str,
    results: list[Result],
    clips: list[ClipScore],
    thresholds: Thresholds | None,
    lists: list[ListedClips],
) -> dict:
    """Collect the values of the template for one machine ID; `clips` have the highest score first."""
    known = [clip for clip in clips if clip.label >= 0]
    labels, decisions = ([getattr(clip, name) for clip in known] for name in ("label", "decision"))
    value = next((r.value for r in results if r[:3] == (machine, name, "auc")), metrics.UNDEFINED)
    own = [r for r in results if r[:2] == (machine, name)]
    row = next(iter(table_rows(own)), None)
    cells = zip(table_columns(own)[1:], row.cells[1:], strict=True) if row else ()
    threshold = thresholds.of(f"{machine}/{name}") if thresholds else None
    return {
        "name": f"{machine} {name}",
        "facts": ", ".join(f"{column} {cell}" for column, cell in cells if cell),
        "odds": "" if np.isnan(value) else f"{100 * value:.1f} %",
        "lists": lists,
        "short": short_names([clip.file for clip in clips]),
        "threshold": threshold,
        "p_values": _p_values(clips, thresholds, f"{machine}/{name}"),
        "confusion": metrics.confusion(labels, decisions) if decisions and -1 not in decisions else None,
    }


def _figures(clips: list[ClipScore], threshold: float | None) -> dict[str, tuple]:
    """Return the figures of a machine ID by their names in the template: functions and arguments."""
    known = [clip for clip in clips if clip.label >= 0]
    columns = [[getattr(clip, name) for clip in known] for name in ("label", "score", "decision")]
    return {
        "scores": (distribution, clips, threshold),
        "roc": (roc_figure, *columns),
        "pr": (precision_recall_figure, *columns),
    }


def _p_values(clips: list[ClipScore], thresholds: Thresholds | None, label: str) -> dict[str, float]:
    """Return the finite-sample p-value of each clip of a machine ID by its file; empty without thresholds."""
    if thresholds is None:
        return {}
    numbers = np.full(len(clips), thresholds.number(label))
    found = thresholds.p_value(np.array([clip.score for clip in clips]), numbers)
    return {clip.file: value for clip, value in zip(clips, found, strict=True)}


def _lists(clips: list[ClipScore], count: int) -> list[ListedClips]:
    """List clips to look at: the highest scores, then false alarms and misses (without decisions, the likeliest)."""
    normal, anomalous = ([clip for clip in clips if clip.label == label] for label in (0, 1))
    if any(clip.decision < 0 for clip in clips):
        alarms, misses = normal, anomalous
        names = "Likeliest false alarms", "Likeliest misses"
    else:
        alarms = [clip for clip in normal if clip.decision]
        misses = [clip for clip in anomalous if not clip.decision]
        names = f"False alarms: {len(alarms)} of {len(normal)}", f"Misses: {len(misses)} of {len(anomalous)}"
    return [
        ("Most anomalous", "highest scores; normal clips are marked", clips[:count]),
        (names[0], "normal clips, highest scores first", alarms[:count]),
        (names[1], "anomalous clips, lowest scores first", misses[: -count - 1 : -1]),
    ]


def _identified(path: Path) -> dict | None:
    """Read the confusion matrix of an ID classifier on held-out normal clips: names, counts [true][predicted]."""
    if not path.is_file():
        return None
    pairs = [(row["machine_id"], row["taken_for"]) for row in stored_rows(path, ("machine_id", "taken_for"))]
    names = sorted({name for pair in pairs for name in pair})
    counts = [[pairs.count((true, predicted)) for predicted in names] for true in names]
    correct = sum(true == predicted for true, predicted in pairs)
    return {"names": names, "counts": counts, "correct": correct, "all": len(pairs)}


def _sensitivity(noticed: Sequence[Noticed], figure: Pending[Image] | None) -> dict | None:
    """Collect how well faults of graded severity are noticed: the criterion, in words, as curves."""
    if not noticed:
        return None
    clips = sum(entry.clips for entry in noticed if entry.fault == noticed[0].fault)
    drawn = figure.result() if figure else None
    return {"value": sensitivity_of(noticed), "words": in_words(noticed), "clips": clips, "figure": drawn}


def training_lines(path: Path) -> list[tuple[str, dict[str, list[tuple[int, float]]]]]:
    """Read the curves of a training: quantity (`loss`) -> name (`train/loss`, `val/loss`) -> (epoch, value).

    One epoch makes no curve.
    """
    curves: dict[str, dict[str, list]] = {}
    if path.is_file():
        with damaged(path):
            for row in stored_rows(path, ("epoch", "metric", "value")):
                quantity = curves.setdefault(row["metric"].rpartition("/")[2], {})
                quantity.setdefault(row["metric"], []).append((int(row["epoch"]), float(row["value"])))
    return [(quantity, lines) for quantity, lines in curves.items() if any(len(line) > 1 for line in lines.values())]
