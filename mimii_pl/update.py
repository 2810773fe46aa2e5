"""The command `mimii update`: a new run of a finished one that knows new normal sound, and marks of a person."""

import hashlib
import logging
import math
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.config import CONF, build
from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import stored_rows, write_arrays, write_csv, write_text
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.core.freeze import freeze_config, open_stored
from mimii_pl.core.run_dir import find_run, read_facts, refuse_fused, run_fingerprint, write_digests, write_facts
from mimii_pl.core.settings import prepare_process
from mimii_pl.core.stored_config import keep_offline, relocated
from mimii_pl.dataset._cache import clips_fingerprint
from mimii_pl.dataset._learned_from import CLIPS_FILE, COLUMNS
from mimii_pl.live.upkeep.after import ScoresAfter, with_new_backend, with_same_scores
from mimii_pl.live.upkeep.changes import changes, decided, judged_clips, show_changes, thresholds_of, write_changes
from mimii_pl.live.upkeep.known import file_of, known_clips
from mimii_pl.live.upkeep.new_clips import NewClips, given_files, marked_files, read_new
from mimii_pl.rerun import copy_training, require_anomaly_run
from mimii_pl.run import (
    build_task,
    elsewhere,
    finished_objective,
    new_recorder,
    show_results,
    write_run_page,
    written_by_us,
)
from mimii_pl.scoring.cost import write_cost
from mimii_pl.scoring.decisions import apply_thresholds
from mimii_pl.scoring.held_out_table import HELD_OUT_FILE, HeldOutScore, read_held_out
from mimii_pl.scoring.load_run import load_detector
from mimii_pl.scoring.metrics import metrics_of
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.scores import ClipScore, read_scores
from mimii_pl.scoring.sensitivity import in_words, read_sensitivity, sensitivity_of, write_sensitivity
from mimii_pl.scoring.usual_sound import widen_usual_sound
from mimii_pl.sweep.register import register
from mimii_pl.threshold import Thresholds
from mimii_pl.tracking.registry import ALIAS, SCHEME, Origin, origin_of

log = logging.getLogger(__name__)
MOST_ALARMS = 0.2  # share of the given clips of a machine ID that may score as alarms; one of them always may


def update(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Teach a finished run new normal clips, as a new run; the run itself is not changed, nor are weights.

    The back end is fitted to the normal clips of before and the new ones; standardization and thresholds come from
    scores of clips that it was not fitted to. A run that scores by the detector itself gets other thresholds only. With
    recordings that are marked as faults, these choose the thresholds and weigh the members of a committee: an oracle.

    Args:
        cfg: a composed configuration (`conf/command/update.yaml`).
        run_dir: a new run directory; it becomes as complete as that of a trained run.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The sensitivity to faults in the held-out normal clips of before.

    Raises:
        InputError: the run cannot be updated, or more than `MOST_ALARMS` of the given clips of a machine ID score as
            alarms, and `force` is not set.
    """
    _validate(cfg)
    origin = origin_of(cfg.run, cfg.tracking_uri) if str(cfg.run).startswith(SCHEME) else None
    source, run_dir = (origin.run_dir if origin else find_run(cfg.run)).resolve(), run_dir.resolve()
    refuse_fused(source, "Update the runs that it was made of, and fuse these: mimii fuse runs=[...]")
    require_anomaly_run(source, read_facts(source))
    stored = open_stored(source, cfg.trust)
    scorer = load_detector(source, device=cfg.device, trust=cfg.trust)
    before = scorer.require_thresholds()
    clips = _not_known(read_new(scorer, _files(cfg), cfg.machine_id), source)
    scores = scorer.score_waves(clips.waves, clips.ids, "scoring new clips")
    _refuse_alarms(clips, before.decide(scores, clips.ids), scorer.labels, force=cfg.force)
    again = _updated_config(cfg, stored, source, clips, run_dir)
    with written_by_us(run_dir, elsewhere(sweep_dir)):
        again = freeze_config(again, run_dir)
        if (objective := finished_objective(run_dir)) is not None:
            return objective
        prepare_process(again)
        recorder = new_recorder(build(again.trainer.logger or None), again, run_dir, sweep_dir)
        parent = {"parent": f"{SCHEME}{origin.name}/{origin.number}"} if origin else {}
        copy_training(source, run_dir, updated_from=str(source), **parent)
        recorder.start()
        task = build_task(again)
        tests, old = _without(read_scores(source / "scores.csv"), clips), read_held_out(source / HELD_OUT_FILE)
        noticed = read_sensitivity(source / "sensitivity.csv")
        if scorer.backend is None:
            log.info("the run has no back end: thresholds alone are chosen again, its scores stay")
            after = with_same_scores(scorer, clips, scores, old, tests, noticed)
        else:
            known = known_clips(source, scorer, stored)
            most = getattr(task, "criterion_clips", None)
            after = with_new_backend(scorer, clips, tests, known, limit=cfg.limit, criterion_clips=most)
            _write_backend(scorer, after, again, run_dir)
        if after.same_clips:
            write_facts(run_dir, held_out=read_facts(source).get("held_out"))
        assert task.threshold is not None
        scorer.thresholds = thresholds_of(scorer, after, clips, task.threshold)
        judged = decided(judged_clips(scorer, clips, scores, old, tests, after), before, scorer.thresholds)
        rows = changes(judged, noticed, after.noticed)
        write_changes(run_dir, judged, rows)
        _write_tables(clips, after, source, run_dir, scorer.labels)
        level = [result for result in read_results(source / "results.csv") if result.metric in _of_level()]
        official = read_facts(source).get("official")
        results = apply_thresholds(after.tests, scorer.thresholds, run_dir, official=official, level=level)
        write_cost(scorer, clips.waves, clips.ids, run_dir, again.efficiency.seconds)
        if task.page:
            write_run_page(again, task, scorer, run_dir)
        criterion = sensitivity_of(after.noticed) if after.noticed else math.nan
        criteria = {task.criterion: criterion, "objective": criterion}
        write_digests(run_dir)
        write_facts(run_dir, status="finished", **(criteria if after.noticed else {}))
        recorder.finish(results, criteria)
        show_results(again, task, results, criterion, run_dir)
        show_changes(Console(), judged, rows, *_told(clips, scorer, scorer.thresholds))
    if origin is not None:
        _register(origin, run_dir, again, promote=cfg.promote)
    return criterion


def _validate(cfg: DictConfig) -> None:
    if cfg.input is None and cfg.marks is None:
        raise InputError("nothing to learn from: give input=<folder of new normal recordings>, or marks=labels.csv")
    if cfg.limit is not None and (type(cfg.limit) is not int or cfg.limit < 1):
        raise InputError(f"limit={cfg.limit}: a whole number of clips, at least 1 (null: all)")


def _files(cfg: DictConfig) -> list[Any]:
    given = given_files(str(cfg.input)) if cfg.input is not None else []
    return given + (marked_files(str(cfg.marks)) if cfg.marks is not None else [])


def _of_level() -> set[str]:
    return {metric.name for metric in metrics_of("level")}


def _updated_config(cfg: DictConfig, stored: DictConfig, source: Path, clips: NewClips, run_dir: Path) -> DictConfig:
    """Return the configuration of the run that is updated, with what the command changes."""
    plain: Any = OmegaConf.to_container(stored)
    again = relocated(plain, run_dir)
    keep_offline(again)
    again.trainer.logger, again.report, again.efficiency = cfg.trainer.logger, cfg.report, cfg.efficiency
    again.choices.logger = cfg.choices.logger
    if "threshold" in cfg:
        again.threshold, again.choices.threshold = cfg.threshold, cfg.choices.threshold
    elif clips.anomalous.any():
        rule = OmegaConf.load(CONF / "threshold" / "balanced.yaml")
        again.threshold, again.choices.threshold = {**rule, "quantile": stored.threshold.quantile}, "balanced"
    learned, marked = (clips_fingerprint(clips.of(rows).digests) for rows in (~clips.anomalous, clips.anomalous))
    content = hashlib.sha256(f"{run_fingerprint(source)}\n{learned}\n{marked}".encode()).hexdigest()
    again.updated = {"content": content[:16], "limit": cfg.limit}
    return again


def _not_known(clips: NewClips, source: Path) -> NewClips:
    """Return the clips that the run has not learned yet, by their samples.

    Raises:
        InputError: it knows all of them.
    """
    path = source / CLIPS_FILE
    known = {row["digest"] for row in stored_rows(path, COLUMNS)} if path.is_file() else set()
    kept = []
    for digest in clips.digests:
        kept.append(digest not in known)
        known.add(digest)
    if not any(kept):
        raise InputError(f"nothing new: run={source} has learned all {len(kept)} clips already")
    if not all(kept):
        log.info("%d of %d clips are learned already, or copies of others: left out", kept.count(False), len(kept))
    return clips.of(np.array(kept))


def _refuse_alarms(clips: NewClips, alarms: np.ndarray, labels: Sequence[str], *, force: bool) -> None:
    """Raise InputError if the clips that were given, not marked one by one, sound like faults."""
    told = []
    for number, label in enumerate(labels):
        own = (clips.ids == number) & ~clips.marked
        count = int(alarms[own].sum())
        if count > max(1, MOST_ALARMS * own.sum()):
            told.append(f"{count} of {own.sum()} of {printable(label)}")
    if told and not force:
        raise InputError(
            f"new clips score as alarms ({', '.join(told)}; at most {MOST_ALARMS:.0%} of a machine ID may): learned as "
            "normal, their fault would not be found again. Listen to them (mimii review) and give marks=labels.csv, or "
            "force=true to take all of them"
        )
    if told:
        log.warning("new clips score as alarms (%s): taken, as force=true", ", ".join(told))
    if marked := int(alarms[clips.marked & ~clips.anomalous].sum()):
        log.info("%d clips marked normal score as alarms: a mark is taken at its word", marked)


def _without(tests: list[ClipScore], clips: NewClips) -> list[ClipScore]:
    """Return the test clips that are not of recordings that are learned from now."""
    new = {os.path.realpath(name) for name in (*clips.recordings, *(file_of(name) for name in clips.names))}
    kept = [clip for clip in tests if os.path.realpath(file_of(clip.file)) not in new]
    if taken := len(tests) - len(kept):
        log.warning("%d test clips are among the new ones: they are no test clips of the new run", taken)
    return kept


def _write_backend(scorer: Scorer, after: ScoresAfter, cfg: DictConfig, run_dir: Path) -> None:
    assert scorer.backend is not None
    assert after.known is not None
    write_arrays(run_dir / "backend.npz", scorer.backend.state_dict())
    write_arrays(run_dir / "embeddings.npz", after.known.arrays())
    if after.weights is not None:
        cfg.backend.weights = after.weights
        write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg))


def _write_tables(clips: NewClips, after: ScoresAfter, source: Path, run_dir: Path, labels: Sequence[str]) -> None:
    """Write the tables of a run: held-out clips, sensitivity, clips learned from, levels, skipped recordings."""
    write_csv(run_dir / HELD_OUT_FILE, HeldOutScore._fields, ((*row[:6], repr(row.score)) for row in after.held_out))
    write_sensitivity(run_dir / "sensitivity.csv", after.noticed)
    write_facts(run_dir, notices=in_words(after.noticed))
    new, path = clips.of(~clips.anomalous), source / CLIPS_FILE
    added = [("train", file_cell(name), digest) for name, digest in zip(new.names, new.digests, strict=True)]
    known = [tuple(row[name] for name in COLUMNS) for row in stored_rows(path, COLUMNS)] if path.is_file() else []
    write_csv(run_dir / CLIPS_FILE, COLUMNS, [*known, *added])
    write_csv(run_dir / "skipped.csv", ("file", "reason"), clips.skipped)
    widen_usual_sound(source, run_dir, new.waves, new.ids, labels)
    if (source / "identified.csv").is_file():
        shutil.copy2(source / "identified.csv", run_dir / "identified.csv")


def _told(clips: NewClips, scorer: Scorer, thresholds: Thresholds) -> tuple[str, str]:
    """Return title and note of the table of changes."""
    faults = int(clips.anomalous.sum())
    counts = {"new normal clips": len(clips.names) - faults, "clips marked as faults": faults}
    title = f"What changes ({', '.join(f'{words}: {count}' for words, count in counts.items() if count)})"
    if scorer.backend is None:
        note = "No back end: scores stay, thresholds are chosen again."
    else:
        note = "Normal clips are judged by what was not fitted to them."
    weighed = " Members are weighed by marked faults (oracle)." if getattr(scorer.backend, "weights", None) else ""
    return title, f"{note}{weighed} Threshold: {thresholds.origin}."


def _register(origin: Origin, run_dir: Path, cfg: DictConfig, *, promote: bool) -> None:
    """Register the new run as a version of the model that was updated; without `promote`, the one in use stays."""
    if not cfg.trainer.get("logger"):
        log.warning("nothing is registered: logger=none, and a version belongs to a run in MLflow")
        return
    register(run=str(run_dir), name=origin.name, alias=ALIAS if promote else None, force=promote)
    if not promote:
        hint = shlex.quote(f"run={run_dir}")
        print(f"in use from now on: mimii register {hint} name={shlex.quote(origin.name)} force=true")
