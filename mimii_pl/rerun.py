"""Runs that exist already: resumed, scored again by another back end, decided again by other thresholds."""

import logging
import math
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.arguments import read_override
from mimii_pl.core.check import check
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import replacing_folder, write_text
from mimii_pl.core.freeze import freeze_config, open_stored
from mimii_pl.core.helper import Helper
from mimii_pl.core.run_dir import check_digests, find_run, is_copy, read_facts, refuse_fused, write_facts
from mimii_pl.core.run_lock import locked
from mimii_pl.core.settings import prepare_process
from mimii_pl.core.stored_config import keep_offline, relocated
from mimii_pl.core.trusted_classes import require_inside
from mimii_pl.report.published import published
from mimii_pl.run import (
    build_task,
    elsewhere,
    evaluate_again,
    new_recorder,
    show_results,
    write_run_page,
    written_by_us,
)
from mimii_pl.scoring.decisions import apply_thresholds, choose_thresholds
from mimii_pl.scoring.load_run import load_run
from mimii_pl.scoring.metrics import metrics_of
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores
from mimii_pl.threshold import Thresholds
from mimii_pl.tracking.logger import recorder_of

log = logging.getLogger(__name__)
TRAINING_FACTS = (  # facts of run.json that a rescored run takes from its source
    "labels",
    "samples",
    "sample_rate",
    "checkpoint",
    "epochs",
    "parameters",
    "device",
    "train_seconds",
    "seconds_per_epoch",
    "validation_loss",
)


def rescore(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Fit another back end on the embeddings of a finished run and evaluate it; nothing is trained.

    Args:
        cfg: a composed configuration (`conf/command/rescore.yaml`).
        run_dir: a new run directory; it becomes as complete as that of a trained run.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The objective, as for `run`.
    """
    source, run_dir = find_run(cfg.run, trained=True).resolve(), run_dir.resolve()
    refuse_fused(source, "Rescore its members, and fuse again: mimii fuse runs=[...]")
    require_anomaly_run(source, read_facts(source))
    if "updated_from" in read_facts(source):
        raise InputError(
            f"run={source} was updated: it learned from recordings beyond its data set, which another back end would "
            "not be fitted to. Rescore the run that was updated first, then update that"
        )
    cfg = _rescoring_config(cfg, source, run_dir)
    published(cfg.get("published"))
    with written_by_us(run_dir, elsewhere(sweep_dir)), Helper() as helper:
        cfg = freeze_config(cfg, run_dir)
        prepare_process(cfg)
        recorder = new_recorder(build(cfg.trainer.logger or None), cfg, run_dir, sweep_dir)
        copy_training(source, run_dir, rescored_from=str(source))
        return evaluate_again(cfg, run_dir, recorder, helper)


def decide(cfg: DictConfig) -> None:
    """Choose the thresholds of a finished run again, in place; nothing is trained and no clip is scored.

    Args:
        cfg: a composed configuration (`conf/command/decide.yaml`).
    """
    run_dir = find_run(cfg.run).resolve()
    with locked(run_dir):
        facts = read_facts(run_dir)
        thresholds = _stored_thresholds(run_dir, facts)
        stored = open_stored(run_dir, cfg.trust)
        if "_target_" in cfg.threshold:  # else that of the run
            stored.threshold, stored.choices.threshold = cfg.threshold, cfg.choices.threshold
        elif cfg.threshold.quantile is not None:
            stored.threshold.quantile = cfg.threshold.quantile
        rule, stored.report = build(stored.threshold), cfg.report
        task = build_task(stored)
        criteria = {name: facts[name] for name in (task.criterion,) if name in facts}  # none of an earlier version
        scorer = load_run(run_dir, trust=cfg.trust)
        with replacing_folder(run_dir) as folder:  # a kill leaves all files as they were, or all new
            clips = read_scores(folder / "scores.csv")
            of_level = [metric.name for metric in metrics_of("level")]
            level = [result for result in read_results(folder / "results.csv") if result.metric in of_level]
            choose_thresholds(thresholds, rule, clips)
            scorer.thresholds = thresholds
            results = apply_thresholds(clips, thresholds, folder, official=facts.get("official"), level=level)
            write_text(folder / "config.yaml", OmegaConf.to_yaml(stored))
            write_run_page(stored, task, scorer, folder)
        if facts.keys() & {"mlflow_key", "mlflow_run_id"} and not is_copy(run_dir):
            recorder_of(stored, run_dir, trust=cfg.trust).finish(results, criteria)
    show_results(stored, task, results, criteria.get(task.criterion, math.nan), run_dir)


def resumed(run: str, overrides: list[str], trust: Sequence[str] = ()) -> tuple[DictConfig, Path]:
    """Return configuration and directory of an interrupted run, with values given on the command line applied.

    Args:
        run: a run directory or `latest`. A finished run can be given too, to train it longer.
        overrides: of the command line, `key=value`.
        trust: packages, besides this one, whose classes the run's configuration may name.

    Raises:
        InputError: there is no such run, it names a class that is not trusted, or an override would change a choice.
    """
    run_dir = find_run(run, finished=False)
    refuse_fused(run_dir, "Nothing of it is trained: mimii fuse runs=[...] makes it again, in seconds")
    if "updated_from" in read_facts(run_dir):
        raise InputError(f"run={run_dir} is updated, not trained: the same `mimii update` makes it again, in seconds")
    cfg = open_stored(run_dir, trust)
    if "rescored_from" not in read_facts(run_dir):  # else it trains nothing
        require_inside(cfg)
    values = OmegaConf.create()
    for item in overrides:
        if item.startswith(("resume=", "trust=", "hydra.")):
            continue
        key, value = read_override(item)
        if key in cfg.choices or key.startswith("training."):
            raise InputError(
                f"{item}: a resumed run keeps its choices, and its `training` values are resolved already: "
                "change the value that is used, for example trainer.max_epochs=50"
            )
        OmegaConf.update(values, key, value)
    keep_offline(cfg)
    merged = OmegaConf.merge(cfg, values)
    assert isinstance(merged, DictConfig)
    check(merged)
    epochs, batch_size = merged.trainer.get("max_epochs"), merged.dataset.batch_size
    if (isinstance(epochs, int) and epochs < -1) or batch_size < 1:
        raise InputError(f"trainer.max_epochs={epochs} dataset.batch_size={batch_size}: too small; nothing is changed")
    with written_by_us(run_dir, "run=<a copy of it>"):
        if read_facts(run_dir).get("status") == "finished":
            write_facts(run_dir, status="running")
        if is_copy(run_dir):
            log.info("%s is a copy: it becomes a run of its own in MLflow", run_dir)
            write_facts(run_dir, run_dir=str(run_dir.resolve()), mlflow_key=None, mlflow_run_id=None)
    return merged, run_dir


def require_anomaly_run(run_dir: Path, facts: dict[str, Any]) -> None:
    """Raise InputError unless a run is finished and computes anomaly scores."""
    if facts.get("status") != "finished":
        raise InputError(f"run={run_dir} is not finished: `mimii resume {shlex.quote(str(run_dir))}` continues it")
    if "classes" in facts:
        raise InputError(
            f"run={run_dir} is a classifier (task=classification), and back ends compute anomaly scores: "
            "give a run of task=anomaly"
        )


def _rescoring_config(cfg: DictConfig, source: Path, run_dir: Path) -> DictConfig:
    """Return the configuration of the source, with what the command changes: back end, logger, seed, report."""
    plain: Any = OmegaConf.to_container(open_stored(source, cfg.trust))
    again = relocated(plain, run_dir)
    keep_offline(again)
    again.backend, again.trainer.logger, again.seed = cfg.backend, cfg.trainer.logger, cfg.seed
    again.report, again.efficiency = cfg.report, cfg.efficiency
    if "threshold" not in again:  # stored before runs had thresholds
        again.threshold = cfg.threshold
    again.choices.backend, again.choices.logger = cfg.choices.backend, cfg.choices.logger
    return again


def copy_training(source: Path, run_dir: Path, **origin: str) -> None:
    """Copy what training left in the source: checkpoint, feature statistics, history, facts.

    Args:
        origin: fact that names the source.
    """
    check_digests(source)
    facts = read_facts(source)
    with damaged(source / "run.json"):
        checkpoint = facts["checkpoint"]
    for name in (checkpoint, "features.npz", "history.csv"):
        if (source / name).is_file():
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, run_dir / name)
    kept = {name: facts[name] for name in TRAINING_FACTS if name in facts}
    write_facts(run_dir, status="running", run_dir=str(run_dir), **origin, **kept)


def _stored_thresholds(run_dir: Path, facts: dict[str, Any]) -> Thresholds:
    path = run_dir / "thresholds.json"
    if "classes" in facts:
        raise InputError(f"run={run_dir} is a classifier (task=classification): it has no thresholds to choose")
    if facts.get("status") != "finished" or not os.path.lexists(path):
        raise InputError(f"run={run_dir} has no {path.name}: it is not finished, or of a version without thresholds")
    return Thresholds.read(path, facts.get("labels", ()))
