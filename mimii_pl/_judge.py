"""What follows training: the back end, the honest criterion, the test clips' scores, and only then their labels."""

import csv
import io
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl._level import level_scores
from mimii_pl._pseudo_anomaly import FAULTS, PseudoAnomalies, pseudo_auc
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.errors import InputError
from mimii_pl.metrics import LEVEL, Result, per_machine_id, write_results
from mimii_pl.report._challenge import Decided, write_challenge
from mimii_pl.scorer import Scorer, load
from mimii_pl.threshold._threshold import Thresholds

log = logging.getLogger(__name__)


def make_scorer(cfg: DictConfig, sounds: MachineSounds, run_dir: Path) -> Scorer:
    """The run directory as users will load it, its back end fitted on the normal training clips."""
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    scorer = load(run_dir, device=device, trust=[cfg.model._target_.split(".")[0], "mimii_pl"])
    means = write_embeddings(scorer, sounds, run_dir) if scorer.detector.has_embedding else None
    backend = _config.build(cfg.backend)
    if backend is not None:
        if means is None:
            raise InputError(f"model={cfg.choices.model} has no embedding for backend={cfg.choices.backend}")
        scorer.use(backend)
        waves, ids = sounds.of("train")
        windows = -(-backend.limit // np.unique(ids, return_counts=True)[1].min())  # as many as the smallest ID needs
        pooled = backend.pool == "mean"  # as in embeddings.npz: not computed twice
        learned = means if pooled else scorer.embed_waves(waves, ids, "embedding training clips", windows)
        backend.fit(learned, ids)
        _run_dir.write_arrays(run_dir / "backend.npz", backend.state())
    return scorer


def write_embeddings(scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> np.ndarray:
    """Embeddings of every clip of a split, the mean over its windows, with what is known of the clip but its label.

    Returns:
        Those of the training clips, [N, D].
    """
    rows = np.concatenate([sounds.rows(split) for split in ("train", "validation", "test")])
    clips = [sounds.clips[row] for row in rows]
    embeddings = scorer.embed_waves(ClipRows(sounds.waves, rows), sounds.machine_id[rows], "embedding clips")
    names = ("split", "machine", "machine_id", "path")
    columns = {name: np.array([str(getattr(clip, name)) for clip in clips]) for name in names}
    _run_dir.write_arrays(run_dir / "embeddings.npz", {"embedding": embeddings, **columns})
    return embeddings[: len(sounds.rows("train"))]


def validate(cfg: DictConfig, scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> float:
    """Thresholds from the held-out normal clips, and the AUC of pseudo-anomalies made of them: what runs are compared
    by."""
    waves, ids = sounds.of("validation")
    normal = scorer.score_waves(waves, ids)
    scorer.thresholds = Thresholds.fit(_config.build(cfg.threshold), normal, ids, sounds.labels)
    _run_dir.write_text(run_dir / "thresholds.json", json.dumps(scorer.thresholds.state()))
    faulty = [PseudoAnomalies(waves, fault, sounds.sample_rate) for fault in range(len(FAULTS))]
    scores = [scorer.score_waves(clips, ids, "scoring pseudo-anomalies") for clips in faulty]
    return pseudo_auc(normal, np.stack(scores), ids)


def write_scores(
    path: Path, clips: Sequence[Clip], labels: np.ndarray, scores: np.ndarray, decisions: np.ndarray
) -> None:
    """One row per test clip; label and decision: 1 anomalous, 0 normal, label -1: not known."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("machine", "id", "domain", "file", "label", "score", "decision"))
    for clip, label, score, decision in zip(clips, labels, scores, decisions, strict=True):
        row = (clip.machine, clip.machine_id, clip.domain, str(clip.path), label, repr(float(score)), decision)
        table.writerow(row)
    _run_dir.write_text(path, text.getvalue())


def judge(scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> list[Result]:
    """Score every test clip, then, and only then, read the labels."""
    rows = sounds.rows("test")
    if not len(rows):
        log.warning("there are no test clips: nothing to judge the detector by")
    started = time.perf_counter()
    scores = scorer.score_waves(*sounds.of("test"), "scoring test clips") if len(rows) else np.empty(0)
    _run_dir.note(run_dir, clips_per_second=len(rows) / (time.perf_counter() - started))
    clips = [sounds.clips[row] for row in rows]
    labels = sounds.anomalous[rows]
    decisions = scorer.thresholds.decide(scores, sounds.machine_id[rows])
    write_scores(run_dir / "scores.csv", clips, labels, scores, decisions)
    called = {label: [int(decisions[labels == label].sum()), int((labels == label).sum())] for label in (0, 1)}
    _run_dir.note(run_dir, false_alarms=called[0], found=called[1])
    if sounds.official:
        decided = [
            Decided(clip.machine, clip.machine_id, clip.domain, clip.path.name, float(score), int(decision))
            for clip, score, decision in zip(clips, scores, decisions, strict=True)
        ]
        write_challenge(run_dir / "challenge", decided, sounds.official)
    known = labels >= 0  # clips without a label are scored and not judged by
    who = {name: np.array([getattr(clip, name) for clip in clips])[known] for name in ("machine", "machine_id")}
    domain = np.array([clip.domain for clip in clips])[known]
    results = per_machine_id(
        **who, labels=labels[known], scores=scores[known], domain=domain, official=sounds.official
    )  # fmt: skip
    level = level_scores(*sounds.of("train"), *sounds.of("test"))[known]
    of_level = per_machine_id(**who, labels=labels[known], scores=level)
    results += [r._replace(metric=LEVEL) for r in of_level if r.metric == "auc"]
    write_results(run_dir / "results.csv", results)
    return results
