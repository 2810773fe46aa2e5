"""Scores of the test clips, `scores.csv`: one row per clip with its label, score and decision."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.scoring.metrics import Kind
from mimii_pl.scoring.results import Result, per_machine_id


class ClipScore(NamedTuple):
    """One test clip.

    Label: 1 anomalous, 0 normal, -1 unknown; decision: 1 anomalous, 0 normal, -1 not decided yet.

    rpm: speed of the shaft in revolutions per minute; None: unknown.
    """

    machine: str
    id: str
    domain: str
    file: str
    label: int
    score: float
    decision: int = -1
    rpm: float | None = None


def write_scores(path: Path, clips: Iterable[ClipScore]) -> None:
    """Write csv, with scores at full precision; without speeds if none is known."""
    clips = list(clips)
    columns = ClipScore._fields if any(clip.rpm for clip in clips) else ClipScore._fields[:-1]
    rows = ((*clip[:5], repr(clip.score), clip.decision, f"{clip.rpm:.10g}" if clip.rpm else "") for clip in clips)
    write_csv(path, columns, (row[: len(columns)] for row in rows))


def read_scores(path: Path) -> list[ClipScore]:
    """Read the clips of `scores.csv`, in its order.

    Raises:
        InputError: the file is missing, or one of its lines is not a clip.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: only a run that has scored its test clips has it")
    clips = []
    for line, row in enumerate(stored_rows(path, ClipScore._fields[:6]), start=2):
        try:
            machine, id_, domain, name = (row[column] for column in ClipScore._fields[:4])
            label, score, decision = int(row["label"]), float(row["score"]), int(row.get("decision") or -1)
            rpm = float(row.get("rpm") or 0)
            clips.append(ClipScore(machine, id_, domain, name, label, score, decision, rpm or None))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {line}: {error!r}; expected {', '.join(ClipScore._fields)}") from error
        if math.isnan(clips[-1].score) or clips[-1].label not in (0, 1, -1):
            raise InputError(f"{path}, line {line}: the label is not 0, 1 or -1, or the score is NaN")
        if not 0 <= rpm < math.inf:
            raise InputError(f"{path}, line {line}: the speed is not a number above 0")
    return clips


def score_results(clips: Iterable[ClipScore], official: str | None = None, kind: Kind = "scores") -> list[Result]:
    """Compute results per machine ID from the clips with known labels; of decisions too, if every clip has one.

    Args:
        official: challenge whose score is computed.
        kind: what the scores of the clips are.
    """
    known = [clip for clip in clips if clip.label >= 0]
    machine, name, domain, _, labels, scores, decisions, _ = zip(*known, strict=True) if known else [()] * 8
    decided = None if -1 in decisions else decisions
    return per_machine_id(machine, name, labels, scores, domain, official, decided, kind)
