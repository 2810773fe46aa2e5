"""The whole path of the sound in one function: data, detector, training, back end, scores per clip, metrics per ID."""

import logging
import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl import _config, _run_dir
from mimii_pl._check import check
from mimii_pl.errors import InputError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from mimii_pl.dataset._datamodule import MachineSounds
    from mimii_pl.model._detector import Detector
    from mimii_pl.results import Result

log = logging.getLogger(__name__)


def run(cfg: DictConfig, run_dir: Path, *, sweep_dir: Path | None = None) -> float:
    """Train the configured detector, score the test clips with its best checkpoint, judge it per machine ID.

    Args:
        cfg: a composed configuration (`conf/train.yaml`).
        run_dir: where everything is written; `_run_dir` lists it. An unfinished run there is gone on with.
        sweep_dir: directory of the sweep this run is part of.

    Returns:
        The honest number that searches maximise, see `_objective`: by default the AUC of pseudo-anomalies on held-out
        normal clips, of a classifier its balanced accuracy on held-out clips. NaN where a search ended the run early.
    """
    from pytorch_lightning import seed_everything

    from mimii_pl import _objective
    from mimii_pl._memory import keep_freed_memory, reset_peak
    from mimii_pl.sweep._pruning import Hopeless
    from mimii_pl.tracking._logger import end_run

    run_dir = run_dir.resolve()
    cfg = settle(cfg, run_dir)
    if (facts := _run_dir.facts_of(run_dir)).get("status") == "finished":
        log.info("%s is finished already", run_dir)
        return facts.get("objective", math.nan)
    hush()
    limit_threads(cfg.get("threads"))
    keep_freed_memory()
    if cfg.efficiency.seconds > 0:
        reset_peak()
    seed_everything(cfg.seed, verbose=False)
    sounds = open_sounds(cfg)
    detector = _config.build(cfg.model, sounds.in_shape, len(sounds.classes))
    task_of(cfg).accept(cfg, detector)
    _objective.accept(cfg, detector, sounds)
    try:
        trainer = fit(cfg, sounds, detector, run_dir, sweep_dir)
    except Hopeless as reason:
        log.info("%s", reason)
        _run_dir.note(run_dir, status="pruned", reason=str(reason))
        end_run(cfg, run_dir, "KILLED")
        return math.nan
    if not trainer.is_global_zero:
        return math.nan
    return conclude(cfg, sounds, trainer.logger, run_dir)


def conclude(cfg: DictConfig, sounds: "MachineSounds", logger: Any, run_dir: Path) -> float:
    """Everything that follows training: back end, honest criterion, scores of the test clips, costs, tables."""
    from mimii_pl._efficiency import note_efficiency
    from mimii_pl._objective import objective
    from mimii_pl.dataset._cache import fingerprint

    task = task_of(cfg)
    _run_dir.note(run_dir, held_out=fingerprint(sounds.of("validation")[0]))
    scorer = task.make_scorer(cfg, sounds, run_dir)
    criterion = task.validate(cfg, scorer, sounds, run_dir)
    best = objective(cfg, scorer, sounds, criterion, run_dir)
    results = task.judge(cfg, scorer, sounds, run_dir)
    note_efficiency(scorer, *sounds.of("validation"), run_dir, cfg.efficiency.seconds)
    task.report(cfg, scorer, results, criterion, run_dir)
    record(logger, results, {task.CRITERION: criterion, "objective": best}, run_dir)
    return best


def task_of(cfg: DictConfig) -> ModuleType:
    """What this task makes of a trained detector: `_judge` anomaly scores, `_classify` classes."""
    from mimii_pl import _classify, _judge

    return {"anomaly": _judge, "classification": _classify}[_config.task_of(cfg)]


def settle(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """Check the configuration, write its resolved form into the run directory, and make that final."""
    cfg = cfg.copy()
    cfg.run_dir = str(run_dir)
    check(cfg)
    run_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.resolve(cfg)
    _keep_finished(cfg, run_dir)
    _run_dir.write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg))
    return cfg


def _keep_finished(cfg: DictConfig, run_dir: Path) -> None:
    """Raise InputError where the directory holds a finished run of another configuration."""
    from mimii_pl.tracking._logger import flat
    from mimii_pl.tracking._repeats import divided

    if _run_dir.facts_of(run_dir).get("status") != "finished":
        return
    there = OmegaConf.load(run_dir / "config.yaml")
    one, other = (divided({**flat(config), **config.choices}) for config in (there, cfg))
    if one != other:
        changed = {name for parts in zip(one, other, strict=True) for name, _ in parts[0].items() ^ parts[1].items()}
        raise InputError(
            f"{run_dir} holds a finished run with another {', '.join(sorted(changed))}: it is kept. Choose another "
            "directory (hydra.run.dir, of sweeps hydra.sweep.dir), or delete this one"
        )


def limit_threads(threads: int | None) -> None:
    """Compute with this many threads from now on, in torch and in the libraries of numpy; None: as it is."""
    import torch
    from threadpoolctl import threadpool_limits

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads={threads} must be 1 or more, or null: as many as there are")
        torch.set_num_threads(threads)
        threadpool_limits(threads)


def hush() -> None:
    """Leave out what Lightning says of itself: hardware it looked for, advice that does not apply here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on torch 2.11
        r".*does not have many workers",  # gathers from a memory map: workers would cost more
        r".*Checkpoint directory .* exists",  # a resumed run writes where the interrupted one did
        r".*number of training batches",  # small sets are in order
    ):
        warnings.filterwarnings("ignore", message)


def open_sounds(cfg: DictConfig) -> "MachineSounds":
    """The data module of the configured data set, its audio decoded and its clips split."""
    from mimii_pl.dataset._cache import write_skipped

    sounds = _config.build_sounds(cfg)
    sounds.prepare_data()
    sounds.setup()
    write_skipped(Path(cfg.run_dir) / "skipped.csv", sounds.skipped)
    for path, reason in sounds.skipped:
        log.warning("skipped %s: %s", path, reason)
    count = {split: len(sounds.rows(split)) for split in ("train", "validation", "test")}
    log.info("%s: %s clips of %.1f s, %d machine IDs, %d recordings skipped", cfg.machine.name,
             ", ".join(f"{number} {split}" for split, number in count.items()),
             sounds.samples / sounds.sample_rate, len(sounds.labels), len(sounds.skipped))  # fmt: skip
    if not count["validation"]:
        raise InputError(
            "no clip is held out for validation, so no checkpoint can be chosen: set protocol.validation above "
            f"0 and have two training clips per machine ID at least (there are {count['train']} in all)"
        )
    return sounds


def fit(
    cfg: DictConfig, sounds: "MachineSounds", detector: "Detector", run_dir: Path, sweep_dir: Path | None
) -> "pl.Trainer":
    """Train, from the last checkpoint where the run directory holds one; note what scoring will need."""
    from mimii_pl.sweep._pruning import pruning
    from mimii_pl.tracking._callbacks import Stopwatch
    from mimii_pl.tracking._logger import start_run

    sounds.crop = detector.crop
    trainer = _config.build(cfg.trainer)
    sounds.fit_features(trainer.strategy.root_device)
    if trainer.is_global_zero:
        if sounds.features.fitted is not None:
            arrays = {name: part.cpu().numpy() for name, part in sounds.features.fitted._asdict().items()}
            _run_dir.write_arrays(run_dir / "features.npz", arrays)
        _run_dir.note(run_dir, status="running", labels=sounds.labels, samples=sounds.samples)
        if sounds.target:
            _run_dir.note(run_dir, classes=sounds.classes)
        start_run(cfg, trainer.logger, run_dir, sweep_dir)
    last = run_dir / "checkpoints" / "last.ckpt"
    watch = Stopwatch()
    trainer.callbacks[:0] = filter(None, (watch, pruning(cfg)))
    trainer.fit(detector, sounds, ckpt_path=last if last.is_file() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        best = Path(trainer.checkpoint_callback.best_model_path)
        _run_dir.note(
            run_dir, checkpoint=str(best.relative_to(run_dir)), epochs=trainer.current_epoch,
            parameters=sum(p.numel() for p in detector.parameters()), train_seconds=watch.seconds,
            seconds_per_epoch=watch.seconds / max(1, watch.epochs),
            validation_loss=float(trainer.checkpoint_callback.best_model_score),
        )  # fmt: skip
    return trainer


def record(logger: Any, results: list["Result"], criteria: dict[str, float], run_dir: Path) -> None:
    """Note that the run is finished, here and in MLflow, and what of it held-out clips say, by name."""
    from mimii_pl.tracking._logger import finish_run

    _run_dir.note(run_dir, status="finished", **criteria)
    finish_run(logger, results, criteria, run_dir)


def resumed(run: str, overrides: list[str]) -> tuple[DictConfig, Path]:
    """Configuration and directory of an interrupted run, with the values given on the command line on top."""
    run_dir = _run_dir.find(run, finished=False)
    cfg = OmegaConf.load(run_dir / "config.yaml")
    values = [item for item in overrides if not item.startswith(("resume=", "hydra."))]
    for item in values:
        key = item.split("=")[0]
        if key in cfg.choices or key.startswith("training."):
            raise InputError(
                f"{item}: a resumed run keeps its choices, and its values are written out; "
                "only values can change, for example trainer.max_epochs=50"
            )
    if _run_dir.facts_of(run_dir).get("status") == "finished":  # longer than it was to be, say
        _run_dir.note(run_dir, status="running")
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(values)), run_dir
