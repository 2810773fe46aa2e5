"""Scores of a run's test clips, `scores.csv`: a row per clip with what is known of it and what it was called."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_csv
from mimii_pl.scoring.results import Result, per_machine_id


class ClipScore(NamedTuple):
    """One test clip. Label: 1 anomalous, 0 normal, -1 not known; decision: 1 called anomalous, 0 normal, -1 not yet."""

    machine: str
    id: str
    domain: str
    file: str
    label: int
    score: float
    decision: int = -1


def write_scores(path: Path, clips: Iterable[ClipScore]) -> None:
    """Write csv, scores at full precision, whole or not at all."""
    write_csv(path, ClipScore._fields, ((*clip[:5], repr(clip.score), clip.decision) for clip in clips))


def read_scores(path: Path) -> list[ClipScore]:
    """Clips of `scores.csv`, in its order.

    Raises:
        InputError: the file is missing, or a line of it is not a clip.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: a run that has scored its test clips leaves it")
    clips = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                names = (row[name] for name in ClipScore._fields[:4])
                clips.append(ClipScore(*names, int(row["label"]), float(row["score"]), int(row.get("decision") or -1)))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, line {line}: {error!r}; expected {', '.join(ClipScore._fields)}") from error
            if math.isnan(clips[-1].score) or clips[-1].label not in (0, 1, -1):
                raise InputError(f"{path}, line {line}: the label is not 0, 1 or -1, or the score is NaN")
    return clips


def score_results(clips: Iterable[ClipScore], official: str | None = None) -> list[Result]:
    """Results per machine ID of the clips whose label is known; of decisions too where all have one.

    Args:
        official: challenge whose score is computed.
    """
    known = [clip for clip in clips if clip.label >= 0]
    machine, name, domain, _, labels, scores, decisions = zip(*known, strict=True) if known else [()] * 7
    return per_machine_id(machine, name, labels, scores, domain, official, None if -1 in decisions else decisions)
