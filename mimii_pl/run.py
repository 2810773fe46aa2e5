"""One run, from recordings to results.

`run` trains one, `rescore` evaluates it by another back end, `decide` chooses its thresholds again.
"""

import json
import logging
import math
import shutil
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mimii_pl import __version__
from mimii_pl.core.callbacks import Stopwatch
from mimii_pl.core.check import check
from mimii_pl.core.config import build, build_data, class_of, read_config
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_arrays, write_csv, write_text
from mimii_pl.core.memory import keep_freed_memory, reset_peak
from mimii_pl.core.options import flatten, split_options
from mimii_pl.core.process import limit_threads, quiet_lightning
from mimii_pl.core.run_dir import find_run, parent_run_id, read_facts, write_facts
from mimii_pl.dataset import MachineSounds
from mimii_pl.dataset._cache import clips_fingerprint
from mimii_pl.model import Detector
from mimii_pl.report.published import published
from mimii_pl.report.show import show_run
from mimii_pl.scoring.cost import write_cost
from mimii_pl.scoring.decisions import apply_thresholds, choose_thresholds
from mimii_pl.scoring.results import LEVEL, Result, read_results
from mimii_pl.scoring.scorer import Scorer, load_run
from mimii_pl.scoring.scores import read_scores
from mimii_pl.sweep.pruning import TrialPruned, pruning
from mimii_pl.task import Task
from mimii_pl.threshold import Thresholds
from mimii_pl.tracking.logger import Recorder, RunDescription

log = logging.getLogger(__name__)
KEPT_FACTS = (  # of run.json, by a run that is scored again
    "labels",
    "samples",
    "checkpoint",
    "epochs",
    "parameters",
    "train_seconds",
    "seconds_per_epoch",
    "validation_loss",
)


def run(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Train the configured detector, score the test clips with its best checkpoint, evaluate it per machine ID.

    Args:
        cfg: a composed configuration (`conf/train.yaml`).
        run_dir: where everything is written; `core.run_dir` lists it. An unfinished run there is resumed.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The objective, a number made of held-out clips (see `scoring.objective`): by default the AUC of
        pseudo-anomalies, for a classifier the balanced accuracy. NaN where a search pruned the run.
    """
    run_dir = run_dir.resolve()
    cfg = freeze_config(cfg, run_dir)  # checked, resolved, written
    if (facts := read_facts(run_dir)).get("status") == "finished":
        log.info("%s is finished already", run_dir)
        return facts.get("objective", math.nan)
    prepare_process(cfg)  # threads, memory, random numbers
    data = open_data(cfg, run_dir)  # recordings -> clips -> int16 cache -> batches, with their features
    detector = build(cfg.model, data.in_shape, len(data.classes))  # [B, C, F, N] -> score [B], embedding [B, D]
    task = build_task(cfg)  # Anomaly | Classification, with back end and threshold
    task.validate(detector, data)
    trainer = build(cfg.trainer)
    recorder = Recorder(trainer.logger, run_dir, describe_run(cfg, run_dir, sweep_dir))
    try:
        train(trainer, detector, data, recorder, run_dir, _pruning(cfg, task, run_dir))
    except TrialPruned as reason:
        log.info("%s", reason)
        write_facts(run_dir, status="pruned", reason=str(reason))
        recorder.end("KILLED")
        return math.nan
    return evaluate(cfg, task, data, recorder, run_dir) if trainer.is_global_zero else math.nan


def rescore(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Fit another back end on a finished run's embeddings and evaluate it; nothing is trained.

    Args:
        cfg: a composed configuration (`conf/command/rescore.yaml`).
        run_dir: a new run directory, complete like that of a trained run.
        sweep_dir: directory of the sweep that this run is part of.

    Returns:
        The objective, as `run` does.
    """
    source = find_run(cfg.run, trained=True).resolve()
    facts = read_facts(source)
    if facts["status"] != "finished":
        raise InputError(f"run={source} is not finished: `mimii resume {source}` continues it")
    if "classes" in facts:
        raise InputError(f"run={source} is of task=classification: back ends make anomaly scores. Use task=anomaly")
    again = read_config(source)
    again.backend, again.trainer.logger, again.seed = cfg.backend, cfg.trainer.logger, cfg.seed
    again.report, again.efficiency = cfg.report, cfg.efficiency
    if "threshold" not in again:  # stored before there were thresholds
        again.threshold = cfg.threshold
    again.choices.backend, again.choices.logger = cfg.choices.backend, cfg.choices.logger
    run_dir = run_dir.resolve()
    again = freeze_config(again, run_dir)
    prepare_process(again)
    for name in (facts["checkpoint"], "features.npz", "history.csv"):
        if (source / name).is_file():
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, run_dir / name)
    kept = {name: facts[name] for name in KEPT_FACTS if name in facts}
    write_facts(run_dir, status="running", rescored_from=str(source), **kept)
    data = open_data(again, run_dir)
    task = build_task(again)
    recorder = Recorder(build(again.trainer.logger or None), run_dir, describe_run(again, run_dir, sweep_dir))
    recorder.start()
    return evaluate(again, task, data, recorder, run_dir)


def decide(cfg: DictConfig) -> None:
    """Choose a run's thresholds again, in place; nothing is trained and no clip is scored.

    Args:
        cfg: a composed configuration (`conf/command/decide.yaml`).
    """
    run_dir = find_run(cfg.run).resolve()
    facts = read_facts(run_dir)
    state = run_dir / "thresholds.json"
    if "classes" in facts:
        raise InputError(f"run={run_dir} is a classifier's: it has no thresholds to choose")
    if facts["status"] != "finished" or not state.is_file():
        raise InputError(f"run={run_dir} is not finished, or older than thresholds: it has no {state.name}")
    own = read_config(run_dir)
    own.threshold, own.choices.threshold, own.report = cfg.threshold, cfg.choices.threshold, cfg.report
    clips, thresholds = read_scores(run_dir / "scores.csv"), Thresholds(**json.loads(state.read_text()))
    level = [result for result in read_results(run_dir / "results.csv") if result.metric == LEVEL]
    choose_thresholds(thresholds, build(cfg.threshold), clips)
    results = apply_thresholds(clips, thresholds, run_dir, official=facts.get("official"), level=level)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(own))
    task = build_task(own)
    criterion = facts[task.criterion]
    _show(own, task, load_run(run_dir, trust=_trusted(own)), results, criterion, run_dir)
    if "mlflow_run_id" not in facts:
        return
    try:
        recorder = Recorder(build(own.trainer.logger), run_dir)
        recorder.resume(facts["mlflow_run_id"])
        recorder.finish(results, {task.criterion: criterion})
    except InputError as error:
        log.warning("the run directory is up to date; MLflow is not: %s", error)


def evaluate(cfg: DictConfig, task: Task, data: MachineSounds, recorder: Recorder, run_dir: Path) -> float:
    """Do everything that follows training: back end, thresholds, objective, test clips, costs, tables."""
    write_facts(run_dir, held_out=clips_fingerprint(data.of("validation")[0]))
    device = "cpu" if cfg.trainer.accelerator == "cpu" else "auto"
    scorer = load_run(run_dir, device=device, trust=_trusted(cfg))
    criterion = task.fit(scorer, data, run_dir)  # on training and held-out clips
    objective = task.final_objective(scorer, data, criterion, run_dir)
    results = task.evaluate(scorer, data, run_dir)  # every test clip is scored, and only then the labels are read
    write_cost(scorer, *data.of("validation"), run_dir, cfg.efficiency.seconds)
    _show(cfg, task, scorer, results, criterion, run_dir)
    criteria = {task.criterion: criterion, "objective": objective}
    write_facts(run_dir, status="finished", **criteria)
    recorder.finish(results, criteria)
    return objective


# --- the steps -------------------------------------------------------------------------------------------------------
def freeze_config(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """Check the configuration, resolve it, and write it into the run directory: from here on it is final."""
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    check(cfg)
    published(cfg.get("published"))
    run_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.resolve(cfg)
    _keep_finished(cfg, run_dir)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg))
    return cfg


def _keep_finished(cfg: DictConfig, run_dir: Path) -> None:
    """Raise InputError where the directory holds a finished run of another configuration."""
    if read_facts(run_dir).get("status") != "finished":
        return
    stored = read_config(run_dir)
    one, other = (split_options({**flatten(config), **config.choices}) for config in (stored, cfg))
    if one != other:
        changed = {name for parts in zip(one, other, strict=True) for name, _ in parts[0].items() ^ parts[1].items()}
        raise InputError(
            f"{run_dir} holds a finished run with another {', '.join(sorted(changed))}: it is kept. Choose another "
            "directory (hydra.run.dir, for sweeps hydra.sweep.dir), or delete this one"
        )


def prepare_process(cfg: DictConfig) -> None:
    """Set what belongs to the process: messages, threads, memory, random numbers."""
    quiet_lightning()
    limit_threads(cfg.get("threads"))
    keep_freed_memory()
    if cfg.efficiency.seconds > 0:
        reset_peak()
    pl.seed_everything(cfg.seed, verbose=False)


def open_data(cfg: DictConfig, run_dir: Path) -> MachineSounds:
    """Open the configured data set, its audio decoded and its clips split; write which recordings were skipped."""
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    write_csv(run_dir / "skipped.csv", ("path", "reason"), data.skipped)
    for path, reason in data.skipped:
        log.warning("skipped %s: %s", path, reason)
    count = {split: len(data.rows(split)) for split in ("train", "validation", "test")}
    splits = ", ".join(f"{number} {split}" for split, number in count.items())
    seconds = data.samples / data.sample_rate
    text = "%s: %s clips of %.1f s, %d machine IDs, %d recordings skipped"
    log.info(text, cfg.machine.name, splits, seconds, len(data.labels), len(data.skipped))
    if not count["validation"]:
        raise InputError(
            "no clip is held out for validation, so no checkpoint can be chosen: set protocol.validation above "
            f"0 and have two training clips per machine ID at least (there are {count['train']} in all)"
        )
    return data


def build_task(cfg: DictConfig) -> Task:
    """Build the task with the back end and the threshold that it fits."""
    options = {"target": cfg.get("target", "machine_id"), "objective": cfg.get("objective", "criterion")}
    return build(cfg.task, backend=build(cfg.backend), threshold=build(cfg.threshold), **options)


def train(
    trainer: pl.Trainer,
    detector: Detector,
    data: MachineSounds,
    recorder: Recorder,
    run_dir: Path,
    pruner: pl.Callback | None = None,
) -> None:
    """Train from the last checkpoint where the run directory holds one; note what scoring will need.

    Raises:
        TrialPruned: the pruner ended it.
        KeyboardInterrupt: it was interrupted.
    """
    data.crop = detector.crop
    data.fit_features(trainer.strategy.root_device)
    if trainer.is_global_zero:
        if data.features.fitted is not None:
            arrays = {name: part.cpu().numpy() for name, part in data.features.fitted._asdict().items()}
            write_arrays(run_dir / "features.npz", arrays)
        write_facts(run_dir, status="running", labels=data.labels, samples=data.samples)
        if data.target:
            write_facts(run_dir, classes=data.classes)
        recorder.start()
    last = run_dir / "checkpoints" / "last.ckpt"
    watch = Stopwatch()
    trainer.callbacks[:0] = [callback for callback in (watch, pruner) if callback is not None]
    trainer.fit(detector, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        best = Path(trainer.checkpoint_callback.best_model_path)
        write_facts(
            run_dir,
            checkpoint=str(best.relative_to(run_dir)),
            epochs=trainer.current_epoch,
            parameters=sum(p.numel() for p in detector.parameters()),
            train_seconds=watch.seconds,
            seconds_per_epoch=watch.seconds / max(1, watch.epochs),
            validation_loss=float(trainer.checkpoint_callback.best_model_score),
        )


def resumed(run: str, overrides: list[str]) -> tuple[DictConfig, Path]:
    """Configuration and directory of an interrupted run, with the values given on the command line.

    Args:
        run: a run directory or `latest`. A finished run is continued too: to train it longer.
        overrides: of the command line, `key=value`.

    Raises:
        InputError: there is no such run, or a choice would change.
    """
    run_dir = find_run(run, finished=False)
    cfg = read_config(run_dir)
    values = [item for item in overrides if not item.startswith(("resume=", "hydra."))]
    for item in values:
        key = item.split("=")[0]
        if key in cfg.choices or key.startswith("training."):
            raise InputError(
                f"{item}: a resumed run keeps its choices, and its values are written out; "
                "only values can change, for example trainer.max_epochs=50"
            )
    if read_facts(run_dir).get("status") == "finished":
        write_facts(run_dir, status="running")
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(values)), run_dir


# --- names and words of a run ----------------------------------------------------------------------------------------
def describe_run(cfg: DictConfig, run_dir: Path, sweep_dir: Path | None = None) -> RunDescription:
    """Describe a run for MLflow: name, tags, parameters, parent run."""
    trial = OmegaConf.select(cfg, "sweep.trial")
    name = f"{cfg.choices.model}-{cfg.machine.name}" + ("" if trial is None else f"-{trial}")
    tags = {
        "machine": cfg.machine.name,
        "selection": class_of(cfg.task).checkpoint_rule,
        "run_dir": str(run_dir),
        "version": __version__,
        **{group: str(choice) for group, choice in cfg.choices.items() if group != "machine"},
    }
    parent = parent_run_id(sweep_dir) if sweep_dir is not None else None
    return RunDescription(name, tags, {**cfg.choices, **flatten(cfg)}, parent)


def _pruning(cfg: DictConfig, task: Task, run_dir: Path) -> pl.Callback | None:
    options = cfg.get("sweep")
    if options is None or options.trial is None or options.pruner is None:
        return None
    if task.backend is not None and task.objective != "loss":
        log.info("backend=%s is fitted when training is over: no trial is pruned", cfg.choices.backend)
        return None
    return pruning(options, build(options.pruner), run_dir, task.interim_objective)


def _show(cfg: DictConfig, task: Task, scorer: Scorer, results: list[Result], criterion: float, run_dir: Path) -> None:
    title = f"{cfg.choices.get('model', '')} on {cfg.machine.name} ({cfg.choices.get('dataset', '')})"
    caption = f"checkpoint with the {task.checkpoint_rule}; seed {cfg.seed}"
    show_run(task, scorer, results, criterion, run_dir, title=title, caption=caption, **cfg.report)
    if cfg.trainer.get("logger"):
        Console().print(" MLflow: make ui", soft_wrap=True)


def _trusted(cfg: DictConfig) -> list[str]:
    """Packages whose classes may be loaded: ours, and the one that the user chose a detector from."""
    return [cfg.model._target_.split(".")[0], "mimii_pl"]
