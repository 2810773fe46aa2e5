"""Anomaly scores: fit the back end and thresholds, score the test clips, and only then read their labels."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_arrays, write_csv
from mimii_pl.core.foreign import file_cell
from mimii_pl.core.run_dir import write_facts
from mimii_pl.dataset import MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.decisions import apply_thresholds, choose_thresholds
from mimii_pl.scoring.held_out import CrossFitted, HeldOutScores, backend_embeddings, domain_names, recording_names
from mimii_pl.scoring.held_out_table import HELD_OUT_FILE, HeldOutTable
from mimii_pl.scoring.level import level_scores
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scorer import OnePass, Scorer
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
from mimii_pl.task._passes import Passes
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
        self.passes: Passes | None = None  # set by `pass_clips`

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        super().validate(detector, data)
        if self.target != "machine_id":
            raise InputError(
                f"target={self.target}: task=anomaly learns from normal clips, whose only classes are machine IDs. "
                f"task=classification target={self.target} learns from clips of every class"
            )
        self._require_embedding(detector)

    def pass_clips(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> None:
        """Pass all clips through the detector, and write their embeddings.

        Raises:
            InputError: there is a back end, and the detector has no embedding.
        """
        self._require_embedding(scorer.detector)  # a run that is rescored has not been validated
        self.passes = Passes(scorer, data, backend=self.backend is not None, page=self.page)
        self.passes.write_embeddings(data, run_dir / "embeddings.npz")

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Fit the back end on training clips and the thresholds on held-out ones; return the sensitivity."""
        if self.passes is None:
            self.pass_clips(scorer, data, run_dir)
        assert self.passes is not None
        self.held_out = self._fit_backend(scorer, data, self.passes)
        if self.backend is not None:
            write_arrays(run_dir / "backend.npz", self.backend.state_dict())
        if scorer.detector.supports("classify"):
            write_identified(self.passes.of["validation"], data, run_dir)
        normal, _ = self.held_out.normal_scores()
        rows = np.concatenate([data.rows("train"), data.rows("validation")])[-len(normal) :]
        of_recordings, first = data.recordings_of(rows, normal)
        scorer.thresholds = Thresholds.hold(of_recordings, data.machine_id[first], data.labels)
        self._choose_thresholds(scorer, scorer.thresholds, data, of_recordings, data.machine_id[first])
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

    def _fit_backend(self, scorer: Scorer, data: MachineSounds, passes: Passes) -> HeldOutScores:
        """Fit the back end, if there is one, and return how held-out clips are scored."""
        if self.backend is None:
            return HeldOutScores(scorer, *data.of("validation"), passes.of["validation"].score)
        scorer.use(self.backend)
        rows, means = passes.rows["train"], passes.embeddings
        assert means is not None
        if scorer.detector.training_free:
            means = means[: len(rows) + len(passes.rows["validation"])]
            return CrossFitted(scorer, data, self.backend, backend_embeddings(scorer, self.backend, data, means))
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
            anomalous, first = data.recordings_of(clips.rows, scorer.score_waves(clips, clip_ids))
            labels = np.repeat([0, 1], [len(normal), len(anomalous)])
            every = np.concatenate([normal, anomalous]), np.concatenate([ids, data.machine_id[first]])
            thresholds.choose(self.threshold, (*every, labels))

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        assert scorer.thresholds is not None
        rows = data.rows("test")
        if not len(rows):
            log.warning("there are no test clips: the detector is not evaluated")
        scores = self._test_scores(scorer, data) if len(rows) else np.empty(0)
        levels = level_scores(*data.of("train"), *data.of("test"))
        clips = clip_scores(data, rows, scores)
        level = score_results(clip_scores(data, rows, levels), kind="level")
        if not scorer.thresholds.thresholds:  # an oracle without anomalies next to the validation clips
            assert self.threshold is not None
            choose_thresholds(scorer.thresholds, self.threshold, clips)
        return apply_thresholds(clips, scorer.thresholds, run_dir, official=data.official, level=level)

    def _test_scores(self, scorer: Scorer, data: MachineSounds) -> np.ndarray:
        """Return the scores of the test clips [N], from the pass through the detector where that suffices."""
        passed = self.passes.of["test"] if self.passes is not None else OnePass()
        if passed.score is not None:
            return passed.score
        clips, ids = data.of("test")
        if passed.embedding is not None and self.backend is not None and self.backend.pool == "mean":
            return scorer.score_embeddings(passed.embedding, ids)
        return scorer.score_waves(clips, ids, "scoring test clips")

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        held_out = HeldOutScores(scorer, *interim_clips(data))
        return sensitivity_of(self._noticed(held_out, held_out.normal_scores()[0], held_out.score_waves))


def write_identified(passed: OnePass, data: MachineSounds, run_dir: Path) -> None:
    """Write the machine ID that the detector assigns to each held-out normal clip."""
    assert passed.probability is not None
    clips = [data.clips[row] for row in data.rows("validation")]
    assigned = passed.probability.argmax(axis=1)
    rows = [
        (file_cell(clip.name), clip.label, data.labels[number]) for clip, number in zip(clips, assigned, strict=True)
    ]
    write_csv(run_dir / "identified.csv", ("file", "machine_id", "taken_for"), rows)


def clip_scores(data: MachineSounds, rows: np.ndarray, scores: np.ndarray) -> list[ClipScore]:
    """Combine recordings with their labels and the scores [N] of their clips; those of channels are fused."""
    scored = []
    fused, first = data.recordings_of(rows, scores)
    for row, score in zip(first, fused, strict=True):
        clip, label = data.clips[row], int(data.anomalous[row])
        names = clip.machine, clip.machine_id, clip.domain, file_cell(data.recording_name(clip))
        scored.append(ClipScore(*names, label, float(score), rpm=data.rpm_of(row)))
    return scored
