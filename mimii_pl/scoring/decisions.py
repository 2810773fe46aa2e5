"""Decisions on scored test clips, and the files that follow from them: challenge, results per machine ID."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimii_pl.core.run_dir import write_facts
from mimii_pl.scoring.challenge import write_challenge
from mimii_pl.scoring.results import Result, write_results
from mimii_pl.scoring.scores import ClipScore, score_results, write_scores
from mimii_pl.threshold._threshold import Threshold, Thresholds


def choose_thresholds(thresholds: Thresholds, rule: Threshold, clips: Sequence[ClipScore]) -> None:
    """Choose thresholds by a rule; only an oracle reads the labels of the test clips."""
    known = [clip for clip in clips if clip.label >= 0]
    numbers = np.array([thresholds.number(f"{clip.machine}/{clip.id}") for clip in known])
    scores, labels = np.array([clip.score for clip in known]), np.array([clip.label for clip in known])
    thresholds.choose(rule, (scores, numbers, labels) if rule.oracle and known else ())


def apply_thresholds(
    clips: Sequence[ClipScore],
    thresholds: Thresholds,
    run_dir: Path,
    *,
    official: str | None = None,
    level: Sequence[Result] = (),
) -> list[Result]:
    """Decide for each clip whether it is anomalous, and write the files that follow from the decisions.

    They are `thresholds.json`, `scores.csv`, `challenge/`, `results.csv` and the counts in `run.json`.

    Args:
        clips: scored test clips.
        official: challenge whose files are written and whose score is computed.
        level: results of the level alone, which are appended.
    """
    numbers = np.array([thresholds.number(f"{clip.machine}/{clip.id}") for clip in clips], dtype=int)
    decisions = thresholds.decide(np.array([clip.score for clip in clips]), numbers)
    clips = [clip._replace(decision=int(decision)) for clip, decision in zip(clips, decisions, strict=True)]
    thresholds.write(run_dir / "thresholds.json")
    write_scores(run_dir / "scores.csv", clips)
    if official:
        write_challenge(run_dir / "challenge", clips, official)
    results = score_results(clips, official)
    results += level
    write_results(run_dir / "results.csv", results)
    decided = {label: [clip.decision for clip in clips if clip.label == label] for label in (0, 1)}
    write_facts(
        run_dir,
        threshold=thresholds.origin,
        official=official,
        false_alarms=[sum(decided[0]), len(decided[0])],
        found=[sum(decided[1]), len(decided[1])],
    )
    return results
