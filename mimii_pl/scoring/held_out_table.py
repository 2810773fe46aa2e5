"""Scores of held-out normal clips, `held_out.csv`: what the thresholds and the criterion of a run rest on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import stored_rows, write_csv
from mimii_pl.core.foreign import file_cell
from mimii_pl.dataset._clip import Clip
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies
from mimii_pl.scoring.sensitivity import ScoreWaves

HELD_OUT_FILE = "held_out.csv"


class HeldOutScore(NamedTuple):
    """A normal clip that the run was not fitted to, or a pseudo-anomaly made from it.

    Attributes:
        fault: name of the fault that was put into the clip; empty: it is the clip itself.
        severity: of the fault, in its unit; 0 without a fault.
        score: higher is more anomalous.
    """

    machine: str
    id: str
    domain: str
    file: str
    fault: str
    severity: float
    score: float


class HeldOutTable:
    """The rows of `held_out.csv`, collected while clips are scored.

    Args:
        clips: held-out normal clips, the validation clips, which faults are put into, last.
        scores: of these clips [N].
        validation: number of validation clips.
    """

    def __init__(self, clips: Sequence[Clip], scores: np.ndarray, validation: int) -> None:
        self.validation = clips[len(clips) - validation :]
        self.rows = [_row(clip, "", 0.0, score) for clip, score in zip(clips, scores, strict=True)]

    def noting(self, score: ScoreWaves) -> ScoreWaves:
        """Return a function that scores pseudo-anomalies as `score` does, and notes the scores."""

        def scored(waves: PseudoAnomalies, ids: np.ndarray, description: str) -> np.ndarray:
            scores, fault = score(waves, ids, description), PSEUDO_FAULTS[waves.fault]
            for row, grade, value in zip(waves.rows, waves.grades, scores, strict=True):
                self.rows.append(_row(self.validation[row], fault.name, float(fault.severities[grade]), value))
            return scores

        return scored

    def write(self, path: Path) -> None:
        """Write csv, with scores at full precision."""
        write_csv(path, HeldOutScore._fields, ((*row[:6], repr(row.score)) for row in self.rows))


def _row(clip: Clip, fault: str, severity: float, score: float) -> HeldOutScore:
    return HeldOutScore(clip.machine, clip.machine_id, clip.domain, file_cell(clip.name), fault, severity, float(score))


def read_held_out(path: Path) -> list[HeldOutScore]:
    """Read the rows of `held_out.csv`.

    Raises:
        InputError: it is missing, as in runs of earlier versions, or damaged.
    """
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the run is of an earlier version, which did not keep it. `mimii rescore` with the "
            "back end of the run makes one that has it"
        )
    clips = []
    with damaged(path):
        for row in stored_rows(path, HeldOutScore._fields):
            *texts, severity, score = (row[name] for name in HeldOutScore._fields)
            machine, id_, domain, file, fault = texts
            clips.append(HeldOutScore(machine, id_, domain, file, fault, float(severity), float(score)))
            if not math.isfinite(clips[-1].score):
                raise ValueError(f"the score of {file[:100]!a} is not a finite number")
    return clips
