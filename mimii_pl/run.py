"""One run, from recordings to results.

`run` trains a detector and evaluates it, by the steps that follow it; `mimii_pl.rerun` continues and repeats such runs.
"""

import logging
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from mimii_pl.core.checkpoints import checkpoint_bytes
from mimii_pl.core.config import build, build_data, is_trained
from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_csv
from mimii_pl.core.foreign import printable
from mimii_pl.core.freeze import freeze_config
from mimii_pl.core.helper import Helper, Pending
from mimii_pl.core.helper import helper as any_helper
from mimii_pl.core.run_dir import read_facts, require_writable_run, write_digests, write_facts
from mimii_pl.core.run_lock import locked
from mimii_pl.core.settings import prepare_process, threads_restored
from mimii_pl.core.trusted_classes import FUSED, packages
from mimii_pl.dataset import MachineSounds
from mimii_pl.dataset._cache import clips_fingerprint
from mimii_pl.dataset._learned_from import clip_changes, write_clips
from mimii_pl.model import Detector
from mimii_pl.model._detector import too_short_named
from mimii_pl.quality.check_data import describe_findings, kept_findings
from mimii_pl.report.embedding import PlacedClips
from mimii_pl.report.page import PageContent, begin_map
from mimii_pl.report.published import published
from mimii_pl.report.show import show_run, write_page
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.cost import write_cost
from mimii_pl.scoring.load_run import load_detector
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.usual_sound import kept_levels, write_usual_sound
from mimii_pl.sweep.pruning import TrialPruned, pruning
from mimii_pl.task import Task
from mimii_pl.threshold._threshold import MIN_OWN_CLIPS
from mimii_pl.tracking.description import describe_run
from mimii_pl.tracking.logger import Recorder
from mimii_pl.tracking.spool import Spool
from mimii_pl.training import train_detector

log = logging.getLogger(__name__)


def run(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Train the configured detector and evaluate its best checkpoint on the test clips, per machine ID.

    Args:
        cfg: a composed configuration (`conf/train.yaml`).
        run_dir: where all files go; `core.run_dir` lists them. If it holds an unfinished run, that run is resumed.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The objective, computed from held-out clips (see `scoring.objective`): by default the sensitivity,
        for a classifier the balanced accuracy. NaN if a search pruned the run.
    """
    run_dir = run_dir.resolve()
    published(cfg.get("published"))  # an unknown key is an error before training, not after it
    with threads_restored(), written_by_us(run_dir, elsewhere(sweep_dir)), Helper() as helper:
        cfg = freeze_config(cfg, run_dir)  # checked, resolved, written
        if (objective := finished_objective(run_dir)) is not None:
            return objective
        prepare_process(cfg)  # messages, threads, memory, random numbers
        if "rescored_from" in read_facts(run_dir):
            return evaluate_again(
                cfg, run_dir, new_recorder(build(cfg.trainer.logger or None), cfg, run_dir, sweep_dir), helper
            )
        task = build_task(cfg)  # Anomaly | Classification, with back end and threshold
        trainer = build(cfg.trainer)
        recorder = new_recorder(trainer.logger, cfg, run_dir, sweep_dir)  # MLflow
        data = open_data(cfg, run_dir)  # recordings -> clips -> int16 cache -> batches, with their features
        recorder.require_store()
        _require_same_clips(data, run_dir)
        look_at_clips(helper, data, cfg, run_dir)  # clipped, silent, strange recordings; levels
        detector = build_detector(cfg, data)  # [B, C, F, N] -> score [B], embedding [B, D]
        task.validate(detector, data)
        require_room(detector, run_dir, elsewhere(sweep_dir))
        pruner = _pruner(cfg, task, run_dir)
        try:
            with threads_restored():  # small steps take one thread, and the scoring of many clips takes all
                train_detector(
                    trainer, detector, data, recorder, run_dir, pruner, cfg.get("threads")
                )  # best checkpoint by held-out clips
        except TrialPruned as reason:
            log.info("%s", reason)
            write_facts(run_dir, status="pruned", reason=str(reason))
            recorder.end("KILLED")
            return math.nan
        return evaluate(cfg, task, data, recorder, run_dir, helper) if trainer.is_global_zero else math.nan


def evaluate(
    cfg: DictConfig, task: Task, data: MachineSounds, recorder: Recorder, run_dir: Path, helper: Helper
) -> float:
    """Do everything that follows training: back end, thresholds, objective, test clips, costs, report."""
    write_facts(run_dir, held_out=clips_fingerprint(data.digests[row] for row in data.rows("validation")))
    for name in ("embeddings.npz", "backend.npz", "thresholds.json"):  # of an evaluation that was killed
        (run_dir / name).unlink(missing_ok=True)
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    scorer = load_detector(run_dir, device=device, trust=packages(cfg))  # checked already, or the user's own
    with scorer.detector.keep_embeddings(data.cache_dir), any_helper() as drawing:
        task.pass_clips(scorer, data, run_dir)  # -> embeddings.npz
        begins = task.page and (run_dir / "embeddings.npz").is_file()
        places = begin_map(drawing, run_dir) if begins else None  # takes as long as many a fit
        criterion = task.fit(scorer, data, run_dir)  # on training and held-out clips
        objective = task.final_objective(scorer, data, criterion, run_dir)
        results = task.evaluate(scorer, data, run_dir)  # all test clips are scored before any of their labels is read
    helper.wait()  # also so that costs are measured alone
    if places is not None:
        places.result()
    write_cost(scorer, *data.of("validation"), run_dir, cfg.efficiency.seconds)
    if task.page:
        with scorer.detector.keep_embeddings(data.cache_dir):
            write_run_page(cfg, task, scorer, run_dir, places)
    else:
        log.info("no page (report=none); `mimii decide %s` makes it", shlex.quote(f"run={run_dir}"))
    criteria = {task.criterion: criterion, "objective": objective}
    write_digests(run_dir)
    write_facts(run_dir, status="finished", root=str(data.root.resolve()), **criteria)
    recorder.finish(results, criteria)
    show_results(cfg, task, results, criterion, run_dir)  # last: a closed pipe on the screen costs nothing
    return objective


# --- the steps of `run`, in order ------------------------------------------------------------------------------------
def finished_objective(run_dir: Path) -> float | None:
    """Return the objective of a run that is finished already, and tell so; None for any other."""
    if (facts := read_facts(run_dir)).get("status") != "finished":
        return None
    log.info("%s is already finished", run_dir)
    if "mlflow_key" in facts and not Spool(run_dir).ended("FINISHED"):
        hint = shlex.quote(f"run={run_dir}")
        log.warning("MLflow does not have all of it: `mimii record %s` sends the rest", hint)
    return facts.get("objective", math.nan)


def new_recorder(logger: Any, cfg: DictConfig, run_dir: Path, sweep_dir: Path | None) -> Recorder:
    """Return the recorder of a run that begins; the classes of its configuration are trusted by now."""
    trust = packages(cfg)
    return Recorder(logger, run_dir, describe_run(cfg, run_dir, sweep_dir, trust), trust=trust)


def open_data(cfg: DictConfig, run_dir: Path) -> MachineSounds:
    """Open the configured data set, decode and split its clips, and write which recordings were skipped.

    Raises:
        InputError: no clip is held out for validation.
    """
    data = build_data(cfg)
    data.features.validate()
    data.prepare_data()
    data.setup()
    write_csv(run_dir / "skipped.csv", ("file", "reason"), data.skipped)
    for path, reason in data.skipped:
        if (path, reason) not in data.skipped_folders:  # named already
            log.warning("skipped %s: %s", printable(path), reason)
    count = {split: len(data.rows(split)) for split in ("train", "validation", "test")}
    splits = ", ".join(f"{number} {split}" for split, number in count.items())
    seconds = data.samples / data.sample_rate
    text = "%s: %s clips of %.1f s, %d machine IDs, %d recordings skipped"
    log.info(text, cfg.machine.name, splits, seconds, len(data.labels), len(data.skipped))
    if not count["validation"]:
        recordings = len({data.clips[row].recording for row in data.rows("train")})
        raise InputError(
            "no clip is held out for validation, so no checkpoint can be chosen: set protocol.validation above 0 and "
            f"provide at least two training clips per machine ID (there are {count['train']} in all, of {recordings} "
            "recordings: the clips of one are not held out from one another, unless dataset.block=300 lets blocks of "
            "300 s of it be)"
        )
    if count["validation"] < MIN_OWN_CLIPS:
        log.warning(
            "checkpoint and thresholds rest on %d held-out clips only: more recordings, or a higher "
            "protocol.validation, make them more reliable",
            count["validation"],
        )
    return data


def look_at_clips(helper: Helper, data: MachineSounds, cfg: DictConfig, run_dir: Path) -> None:
    """Have the levels of the training clips written and what is strange about them told, while the run goes on."""
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # set by Lightning
        return
    known = kept_levels(data).known and kept_findings(data).known  # of an earlier run on these clips
    helper.start(data, beside=not known)
    helper.submit_given(write_usual_sound, run_dir)
    helper.submit_given(describe_findings, check_command(cfg)).then(_warn)
    if not helper.is_running:
        helper.wait()


def _warn(lines: list[str]) -> None:
    for line in lines:
        log.warning("%s", line)


def check_command(cfg: DictConfig) -> str:
    """Return the command that checks the recordings of a configuration in full."""
    choice = {"dataset": cfg.choices.get("dataset", ""), "dataset.root": cfg.dataset.root, "machine": cfg.machine.name}
    return " ".join(["mimii check", *(shlex.quote(f"{key}={value}") for key, value in choice.items())])


def build_detector(cfg: DictConfig, data: MachineSounds) -> Detector:
    """Build the detector for the clips of a data set.

    Raises:
        InputError: the clips are too short for it, or it does not take their features.
    """
    with too_short_named(str(cfg.choices.get("model", "")), data.in_shape):
        detector: Detector = build(cfg.model, data.in_shape, len(data.classes))
    return detector


def build_task(cfg: DictConfig) -> Task:
    """Build the task, with its back end and threshold."""
    options: dict[str, Any] = {
        "target": cfg.get("target", "machine_id"),
        "objective": cfg.get("objective", "criterion"),
        "names": {group: str(cfg.choices[group]) for group in ("model", "backend") if group in cfg.choices},
    }
    task: Task = build(cfg.task, backend=build(cfg.backend), threshold=build(cfg.threshold), **options)
    task.page = cfg.report.get("page", True)  # runs of earlier versions have no such option
    return task


def _pruner(cfg: DictConfig, task: Task, run_dir: Path) -> pl.Callback | None:
    """Build the callback that prunes this trial; None outside of searches and without a pruner."""
    options = cfg.get("sweep")
    if options is None or options.trial is None or options.pruner is None:
        return None
    if task.backend is not None and task.objective != "loss":
        log.info("backend=%s is fitted after training: no trial is pruned", cfg.choices.backend)
        return None
    return pruning(options, build(options.pruner), run_dir, task.interim_objective)


def _titles(cfg: DictConfig, task: Task) -> tuple[str, str]:
    """Return title and caption of a run's page and tables."""
    title = f"{cfg.choices.get('model', '')} on {cfg.machine.name} ({cfg.choices.get('dataset', '')})"
    if FUSED in cfg:
        weights = (f"{name} (weight {member.weight:g})" for name, member in cfg[FUSED].members.items())
        return title, f"mean of the standardized scores of {', '.join(weights)}"
    if is_trained(cfg, packages(cfg)):
        return title, f"checkpoint with the {task.checkpoint_rule}; seed {cfg.seed}"
    fitted = "the back end is fitted to all normal training clips, and thresholds are cross-validated"
    return title, f"nothing is trained{'' if task.backend is None else f': {fitted}'}; seed {cfg.seed}"


def write_run_page(
    cfg: DictConfig,
    task: Task,
    scorer: BaseScorer,
    run_dir: Path,
    places: Pending[PlacedClips | None] | None = None,
) -> None:
    write_page(task, run_dir, scorer, PageContent(*_titles(cfg, task), cfg.report.clips, cfg.report.seconds, places))


def show_results(cfg: DictConfig, task: Task, results: list[Result], criterion: float, run_dir: Path) -> None:
    title, caption = _titles(cfg, task)
    show_run(task, results, criterion, run_dir, title=title, caption=caption)
    if cfg.trainer.get("logger"):
        Console().print(" MLflow: make ui", soft_wrap=True)


def elsewhere(sweep_dir: Path | None) -> str:
    """Return the option that puts a run into another directory, as one types it."""
    return f"hydra.{'run' if sweep_dir is None else 'sweep'}.dir=<another folder>"


def require_room(detector: Detector, run_dir: Path, instead: str) -> None:
    """Raise InputError if the checkpoints of a run do not fit on its disk, those that are there not counted twice."""
    folder = run_dir / "checkpoints"
    present = sum(path.stat().st_size for path in folder.iterdir())
    require_writable(folder, instead, room=checkpoint_bytes(detector.parameters()) - present)


@contextmanager
def written_by_us(run_dir: Path, instead: str) -> Iterator[None]:
    """Make a run directory and keep other processes out of it; those of a distributed run work under one lock.

    Args:
        instead: option that names another directory, as one types it.

    Raises:
        InputError: it cannot be written, or another process writes into it.
    """
    require_writable_run(run_dir, instead)
    with locked(run_dir) if rank_zero_only.rank == 0 else nullcontext():  # type: ignore[attr-defined]  # set by Lightning
        yield


def _require_same_clips(data: MachineSounds, run_dir: Path) -> None:
    if changes := clip_changes(data, run_dir):
        raise InputError(
            f"{run_dir} was trained on other clips ({changes}), and its results would mix both: bring them back, or "
            "start a new run"
        )


def evaluate_again(cfg: DictConfig, run_dir: Path, recorder: Recorder, helper: Helper) -> float:
    """Evaluate a run that took its training from another one."""
    task = build_task(cfg)
    data = open_data(cfg, run_dir)
    if changes := clip_changes(data, Path(read_facts(run_dir)["rescored_from"])):
        log.warning("the detector was trained on other clips than its back end is fitted on now: %s", changes)
    write_clips(data, run_dir)
    look_at_clips(helper, data, cfg, run_dir)
    recorder.start()
    return evaluate(cfg, task, data, recorder, run_dir, helper)
