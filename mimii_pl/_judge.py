"""What follows training: the back end, the honest criterion, the test clips' scores, and only then their labels."""

import csv
import io
import logging
import time
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl._level import level_scores
from mimii_pl._pseudo_anomaly import FAULTS, PseudoAnomalies, pseudo_auc
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.errors import InputError
from mimii_pl.metrics import LEVEL, Result, per_machine_id, write_results
from mimii_pl.scorer import Scorer, load

log = logging.getLogger(__name__)


def make_scorer(cfg: DictConfig, sounds: MachineSounds, run_dir: Path) -> Scorer:
    """The run directory as users will load it, its back end fitted on the normal training clips."""
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    scorer = load(run_dir, device=device, trust=[cfg.model._target_.split(".")[0], "mimii_pl"])
    if scorer.detector.has_embedding:
        write_embeddings(scorer, sounds, run_dir)
    backend = _config.build(cfg.backend)
    if backend is not None:
        if not scorer.detector.has_embedding:
            raise InputError(f"model={cfg.choices.model} has no embedding for backend={cfg.choices.backend}")
        scorer.use(backend)
        waves, ids = sounds.of("train")
        windows = -(-backend.limit // np.unique(ids, return_counts=True)[1].min())  # as many as the smallest ID needs
        backend.fit(scorer.embed_waves(waves, ids, "embedding training clips", windows), ids)
        _run_dir.write_arrays(run_dir / "backend.npz", backend.state())
    return scorer


def write_embeddings(scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> None:
    """Embeddings of every clip of a split, the mean over its windows, with what is known of the clip but its label."""
    rows = np.concatenate([sounds.rows(split) for split in ("train", "validation", "test")])
    clips = [sounds.clips[row] for row in rows]
    embeddings = scorer.embed_waves(ClipRows(sounds.waves, rows), sounds.machine_id[rows], "embedding clips")
    names = ("split", "machine", "machine_id", "path")
    columns = {name: np.array([str(getattr(clip, name)) for clip in clips]) for name in names}
    _run_dir.write_arrays(run_dir / "embeddings.npz", {"embedding": embeddings, **columns})


def validate(scorer: Scorer, sounds: MachineSounds) -> float:
    """AUC of pseudo-anomalies made of the held-out normal clips: what runs are compared by."""
    waves, ids = sounds.of("validation")
    normal = scorer.score_waves(waves, ids)
    faulty = [PseudoAnomalies(waves, fault, sounds.sample_rate) for fault in range(len(FAULTS))]
    scores = [scorer.score_waves(clips, ids, "scoring pseudo-anomalies") for clips in faulty]
    return pseudo_auc(normal, np.stack(scores), ids)


def judge(scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> list[Result]:
    """Score every test clip, then, and only then, read the labels."""
    rows = sounds.rows("test")
    if not len(rows):
        log.warning("there are no test clips: nothing to judge the detector by")
    started = time.perf_counter()
    scores = scorer.score_waves(*sounds.of("test"), "scoring test clips") if len(rows) else []
    _run_dir.note(run_dir, clips_per_second=len(rows) / (time.perf_counter() - started))
    clips = [sounds.clips[row] for row in rows]
    labels = sounds.anomalous[rows]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("machine", "id", "domain", "file", "label", "score"))
    for clip, label, score in zip(clips, labels, scores, strict=True):
        table.writerow((clip.machine, clip.machine_id, clip.domain, str(clip.path), label, repr(float(score))))
    _run_dir.write_text(run_dir / "scores.csv", text.getvalue())
    known = labels >= 0  # clips without a label are scored and not judged by
    who = [np.array([getattr(clip, name) for clip in clips])[known] for name in ("machine", "machine_id")]
    results = per_machine_id(*who, labels[known], np.array(scores)[known])
    level = level_scores(*sounds.of("train"), *sounds.of("test"))
    results += [
        r._replace(metric=LEVEL) for r in per_machine_id(*who, labels[known], level[known]) if r.metric == "auc"
    ]
    write_results(run_dir / "results.csv", results)
    return results
