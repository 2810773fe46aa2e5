"""What follows training: the back end, the honest criterion, the test clips' scores, and only then their labels."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl._decisions import choose, decide
from mimii_pl._level import level_scores
from mimii_pl._pseudo_anomaly import FAULTS, PseudoAnomalies, pseudo_auc
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.errors import InputError
from mimii_pl.model._detector import Detector
from mimii_pl.results import LEVEL, Result
from mimii_pl.scorer import Scorer, load
from mimii_pl.scores import Scored, results_of
from mimii_pl.threshold._threshold import Thresholds

log = logging.getLogger(__name__)
CRITERION = "pseudo_auc"  # on held-out normal clips: what runs are compared by


def accept(cfg: DictConfig, detector: Detector) -> None:
    """Raise InputError for a target that normal clips alone cannot teach."""
    if cfg.get("target", "machine_id") != "machine_id":
        raise InputError(
            f"target={cfg.target}: task=anomaly learns from normal clips, and tells machine IDs apart at most. "
            f"task=classification target={cfg.target} learns from clips of every class"
        )


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
    if scorer.detector.offers("classify"):
        write_identified(scorer, sounds, run_dir)
    scorer.thresholds = Thresholds.hold(normal, ids, sounds.labels)
    rule = _config.build(cfg.threshold)
    beside, of_beside = sounds.anomalies_beside_validation() if rule.oracle else ([], [])
    if len(beside):
        scores = np.concatenate([normal, scorer.score_waves(beside, of_beside)])
        labels = np.repeat([0, 1], [len(normal), len(beside)])
        scorer.thresholds.choose(rule, (scores, np.concatenate([ids, of_beside]), labels))
    elif not rule.oracle:
        scorer.thresholds.choose(rule)
    return faults_auc(scorer, waves, ids, normal)


def faults_auc(scorer: Scorer, waves: ClipRows, ids: np.ndarray, normal: np.ndarray) -> float:
    """AUC of pseudo-anomalies made of held-out normal clips against these clips, which score `normal` [N]."""
    faulty = [PseudoAnomalies(waves, fault, scorer.sample_rate) for fault in range(len(FAULTS))]
    scores = [scorer.score_waves(clips, ids, "scoring pseudo-anomalies") for clips in faulty]
    return pseudo_auc(normal, np.stack(scores), ids)


def write_identified(scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> None:
    """Which machine ID the detector takes each held-out normal clip for."""
    rows = sounds.rows("validation")
    taken = scorer.classify_waves(*sounds.of("validation")).argmax(axis=1)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "machine_id", "taken_for"))
    table.writerows((sounds.clips[row].path, sounds.clips[row].label, sounds.labels[number])
                    for row, number in zip(rows, taken, strict=True))  # fmt: skip
    _run_dir.write_text(run_dir / "identified.csv", text.getvalue())


def judge(cfg: DictConfig, scorer: Scorer, sounds: MachineSounds, run_dir: Path) -> list[Result]:
    """Score every test clip, then, and only then, read the labels."""
    rows = sounds.rows("test")
    if not len(rows):
        log.warning("there are no test clips: nothing to judge the detector by")
    scores = scorer.score_waves(*sounds.of("test"), "scoring test clips") if len(rows) else np.empty(0)
    level = level_scores(*sounds.of("train"), *sounds.of("test"))
    clips, of_level = (scored(sounds, rows, values) for values in (scores, level))
    level = [result._replace(metric=LEVEL) for result in results_of(of_level) if result.metric == "auc"]
    if not scorer.thresholds.thresholds:  # an oracle's, unless there were anomalies beside validation
        choose(scorer.thresholds, _config.build(cfg.threshold), clips)
    return decide(clips, scorer.thresholds, run_dir, official=sounds.official, level=level)


def scored(sounds: MachineSounds, rows: np.ndarray, scores: np.ndarray) -> list[Scored]:
    """Clips with their labels and scores [N]."""
    triples = zip((sounds.clips[row] for row in rows), sounds.anomalous[rows], scores, strict=True)
    return [
        Scored(clip.machine, clip.machine_id, clip.domain, str(clip.path), int(label), float(score))
        for clip, label, score in triples
    ]


def report(cfg: DictConfig, scorer: Scorer, results: list[Result], criterion: float, run_dir: Path) -> None:
    """Write the page and show the tables."""
    from rich.console import Console

    from mimii_pl.report import _beside, _efficiency
    from mimii_pl.report._grid import to_rich
    from mimii_pl.report._page import write_report
    from mimii_pl.report._tables import DECISIONS, results_table

    selection = f"checkpoint with the {_config.SELECTION[_config.task_of(cfg)]}; seed {cfg.seed}"
    title = f"{cfg.choices.get('model', '')} on {cfg.machine.name} ({cfg.choices.get('dataset', '')})"
    page = write_report(run_dir, title=title, caption=selection, scorer=scorer, **cfg.report)
    console = Console()
    console.print(results_table(results, title=title, caption=selection))
    facts = _run_dir.facts_of(run_dir)
    origin = f"Threshold per ID: {facts['threshold']}"
    console.print(results_table(results, title="Decisions", caption=f"{origin}.", sheet=DECISIONS))
    if beside := _beside.of_run(run_dir, results):
        console.print(to_rich(beside))
    console.print(f"pseudo-anomaly AUC on held-out normal clips: {criterion:.3f}")
    (alarms, normal), (found, anomalous) = facts["false_alarms"], facts["found"]
    called = f"{alarms} of {normal} normal test clips called anomalous, {found} of {anomalous} anomalous ones"
    console.print(called, soft_wrap=True)
    console.print(_efficiency.lines(facts), highlight=False, soft_wrap=True)
    for what, path in (("report", page), ("scores", run_dir / "scores.csv"), ("run", run_dir)):
        console.print(f"{what:>7}: {path}", soft_wrap=True)
    if cfg.trainer.get("logger"):
        console.print(" MLflow: make ui", soft_wrap=True)
