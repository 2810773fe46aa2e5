"""Anomaly scores: fit the back end and thresholds, score the test clips, and only then read their labels."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_arrays, write_csv
from mimii_pl.core.foreign import file_cell
from mimii_pl.core.run_dir import write_facts
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.decisions import apply_thresholds, choose_thresholds
from mimii_pl.scoring.held_out import CrossFitted, HeldOutScores, backend_embeddings, domain_names, recording_names
from mimii_pl.scoring.held_out_table import HELD_OUT_FILE, HeldOutTable
from mimii_pl.scoring.level import level_scores
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.scores import ClipScore, score_results
from mimii_pl.scoring.sensitivity import (
    Noticed,
    ScoreWaves,
    in_words,
    measure_sensitivity,
    sensitivity_of,
    spread_rows,
    write_sensitivity,
)
from mimii_pl.task._task import Task, interim_clips
from mimii_pl.threshold import Thresholds

log = logging.getLogger(__name__)


class Anomaly(Task):
    """Anomaly detection: learn from normal clips and score every test clip; higher is more anomalous.

    `target` must be `machine_id`: normal clips have no other classes.

    Args:
        criterion_clips: held-out normal clips that faults are put into for the criterion, over all machine IDs, spread
            evenly; None: all.
        **options: see `Task`.
    """

    criterion = "sensitivity"  # to faults of graded severity in held-out normal clips
    checkpoint_rule = "lowest validation loss on held-out normal clips"

    def __init__(self, *, criterion_clips: int | None = 64, **options: Any) -> None:
        super().__init__(**options)
        self.criterion_clips = criterion_clips

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        super().validate(detector, data)
        if self.target != "machine_id":
            raise InputError(
                f"target={self.target}: task=anomaly learns from normal clips, whose only classes are machine IDs. "
                f"task=classification target={self.target} learns from clips of every class"
            )
        self._require_embedding(detector)

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Fit the back end on training clips and the thresholds on held-out ones; return the sensitivity.

        Raises:
            InputError: there is a back end, and the detector has no embedding.
        """
        self._require_embedding(scorer.detector)  # a run that is rescored has not been validated
        means = write_embeddings(scorer, data, run_dir) if scorer.detector.has_embedding else np.empty((0, 0))
        self.held_out = self._fit_backend(scorer, data, means)
        if self.backend is not None:
            write_arrays(run_dir / "backend.npz", self.backend.state_dict())
        if scorer.detector.supports("classify"):
            write_identified(scorer, data, run_dir)
        normal, ids = self.held_out.normal_scores()
        scorer.thresholds = Thresholds.hold(normal, ids, data.labels)
        self._choose_thresholds(scorer, scorer.thresholds, data, normal, ids)
        rows = np.concatenate([data.rows("train"), data.rows("validation")])[-len(normal) :]
        table = HeldOutTable([data.clips[row] for row in rows], normal, len(self.held_out.ids))
        score = table.noting(self.held_out.score_waves)
        noticed = self._noticed(self.held_out, normal[len(normal) - len(self.held_out.ids) :], score)
        table.write(run_dir / HELD_OUT_FILE)
        write_sensitivity(run_dir / "sensitivity.csv", noticed)
        write_facts(run_dir, notices=in_words(noticed))
        return sensitivity_of(noticed)

    def _noticed(self, held_out: HeldOutScores, normal: np.ndarray, score: ScoreWaves) -> list[Noticed]:
        """Find how well faults in held-out normal clips are noticed; `normal` [N] are the scores of these clips."""
        ids = held_out.ids
        if (used := len(np.unique(spread_rows(ids, self.criterion_clips)))) < len(ids):
            log.info("faults are put into %d of %d held-out clips (task.criterion_clips)", used, len(ids))
        form = held_out.labels, held_out.sample_rate, self.criterion_clips
        return measure_sensitivity(score, held_out.clips, ids, normal, *form)

    def _require_embedding(self, detector: Detector) -> None:
        if self.backend is not None and not detector.has_embedding:
            names = {"model": detector.name, "backend": self.backend.name} | self.names
            raise InputError(f"model={names['model']} has no embedding for backend={names['backend']}")

    def _fit_backend(self, scorer: Scorer, data: MachineSounds, means: np.ndarray) -> HeldOutScores:
        """Fit the back end, if there is one, and return how held-out clips are scored.

        Args:
            means: embeddings of the training and then the validation clips, averaged over windows, [N, D].
        """
        if self.backend is None:
            return HeldOutScores(scorer, *data.of("validation"))
        scorer.use(self.backend)
        if scorer.detector.training_free:
            return CrossFitted(scorer, data, self.backend, backend_embeddings(scorer, self.backend, data, means))
        rows = data.rows("train")
        embeddings = backend_embeddings(scorer, self.backend, data, means[: len(rows)])
        self.backend.fit(embeddings, data.machine_id[rows], domain_names(data, rows), recording_names(data, rows))
        return HeldOutScores(scorer, *data.of("validation"))

    def _choose_thresholds(
        self, scorer: Scorer, thresholds: Thresholds, data: MachineSounds, normal: np.ndarray, ids: np.ndarray
    ) -> None:
        assert self.threshold is not None
        if not self.threshold.oracle:
            thresholds.choose(self.threshold)
            return
        clips, clip_ids = data.anomalies_beside_validation()
        if len(clips):  # otherwise `evaluate` chooses them from the test labels
            scores = np.concatenate([normal, scorer.score_waves(clips, clip_ids)])
            labels = np.repeat([0, 1], [len(normal), len(clips)])
            thresholds.choose(self.threshold, (scores, np.concatenate([ids, clip_ids]), labels))

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        assert scorer.thresholds is not None
        rows = data.rows("test")
        if not len(rows):
            log.warning("there are no test clips: the detector is not evaluated")
        scores = scorer.score_waves(*data.of("test"), "scoring test clips") if len(rows) else np.empty(0)
        levels = level_scores(*data.of("train"), *data.of("test"))
        clips = clip_scores(data, rows, scores)
        level = score_results(clip_scores(data, rows, levels), kind="level")
        if not scorer.thresholds.thresholds:  # an oracle without anomalies next to the validation clips
            assert self.threshold is not None
            choose_thresholds(scorer.thresholds, self.threshold, clips)
        return apply_thresholds(clips, scorer.thresholds, run_dir, official=data.official, level=level)

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        held_out = HeldOutScores(scorer, *interim_clips(data))
        return sensitivity_of(self._noticed(held_out, held_out.normal_scores()[0], held_out.score_waves))


def write_embeddings(scorer: Scorer, data: MachineSounds, run_dir: Path) -> np.ndarray:
    """Write the embedding of every clip, averaged over its windows, with its metadata but without its label.

    Returns:
        The embeddings of the training and then the validation clips, [N, D].
    """
    rows = np.concatenate([data.rows(split) for split in ("train", "validation", "test")])
    clips = [data.clips[row] for row in rows]
    embeddings = scorer.embed_waves(ClipRows(data.waves, rows), data.machine_id[rows], "embedding clips")
    names = ("split", "machine", "machine_id", "path")
    columns = {name: np.array([str(getattr(clip, name)) for clip in clips]) for name in names}
    columns["rpm"] = np.array([data.rpm_of(row) or np.nan for row in rows])
    write_arrays(run_dir / "embeddings.npz", {"embedding": embeddings, **columns})
    return embeddings[: len(data.rows("train")) + len(data.rows("validation"))]


def write_identified(scorer: Scorer, data: MachineSounds, run_dir: Path) -> None:
    """Write the machine ID that the detector assigns to each held-out normal clip."""
    clips = [data.clips[row] for row in data.rows("validation")]
    assigned = scorer.classify_waves(*data.of("validation")).argmax(axis=1)
    rows = [
        (file_cell(clip.path), clip.label, data.labels[number]) for clip, number in zip(clips, assigned, strict=True)
    ]
    write_csv(run_dir / "identified.csv", ("file", "machine_id", "taken_for"), rows)


def clip_scores(data: MachineSounds, rows: np.ndarray, scores: np.ndarray) -> list[ClipScore]:
    """Combine clips with their labels and scores [N]."""
    scored = []
    for row, score in zip(rows, scores, strict=True):
        clip, label = data.clips[row], int(data.anomalous[row])
        names = clip.machine, clip.machine_id, clip.domain, file_cell(clip.path)
        scored.append(ClipScore(*names, label, float(score), rpm=data.rpm_of(row)))
    return scored
