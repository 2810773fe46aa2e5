"""What thresholds make of scored test clips: decisions, the challenge's files, results per machine ID."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimii_pl import _run_dir
from mimii_pl.report._challenge import write_challenge
from mimii_pl.results import Result, write_results
from mimii_pl.scores import Scored, results_of, write_scores
from mimii_pl.threshold._threshold import Threshold, Thresholds


def choose(thresholds: Thresholds, rule: Threshold, clips: Sequence[Scored]) -> None:
    """Choose thresholds by a rule; only an oracle looks at the labels of the test clips."""
    known = [clip for clip in clips if clip.label >= 0]
    numbers = np.array([thresholds.number(f"{clip.machine}/{clip.id}") for clip in known])
    scores, labels = np.array([clip.score for clip in known]), np.array([clip.label for clip in known])
    thresholds.choose(rule, (scores, numbers, labels) if rule.oracle and known else ())


def decide(
    clips: Sequence[Scored],
    thresholds: Thresholds,
    run_dir: Path,
    *,
    official: str | None = None,
    level: Sequence[Result] = (),
) -> list[Result]:
    """Call each clip normal or anomalous, and write all that follows: `thresholds.json`, `scores.csv`, `challenge/`,
    `results.csv` and the counts in `run.json`.

    Args:
        clips: scored test clips.
        official: challenge whose files are written and whose score is computed.
        level: results of the level alone, which stand beside the others.
    """
    numbers = np.array([thresholds.number(f"{clip.machine}/{clip.id}") for clip in clips], dtype=int)
    decisions = thresholds.decide(np.array([clip.score for clip in clips]), numbers)
    clips = [clip._replace(decision=int(decision)) for clip, decision in zip(clips, decisions, strict=True)]
    _run_dir.write_text(run_dir / "thresholds.json", json.dumps(thresholds.state()))
    write_scores(run_dir / "scores.csv", clips)
    if official:
        write_challenge(run_dir / "challenge", clips, official)
    results = results_of(clips, official)
    results += level
    write_results(run_dir / "results.csv", results)
    called = {label: [clip.decision for clip in clips if clip.label == label] for label in (0, 1)}
    _run_dir.note(
        run_dir, threshold=thresholds.origin, official=official,
        false_alarms=[sum(called[0]), len(called[0])], found=[sum(called[1]), len(called[1])],
    )  # fmt: skip
    return results
