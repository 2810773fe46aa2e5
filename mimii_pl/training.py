"""Training: from the clips of a run to its best checkpoint."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from mimii_pl.core.callbacks import Stopwatch
from mimii_pl.core.checkpoints import AtomicCheckpoints, last_checkpoint
from mimii_pl.core.errors import InputError, damaged, one_line
from mimii_pl.core.files import write_arrays
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.core.settings import AUTO, SMALL_STEP, limit_threads
from mimii_pl.dataset import MachineSounds
from mimii_pl.dataset._learned_from import write_clips
from mimii_pl.model import Detector
from mimii_pl.model._detector import too_short_named
from mimii_pl.scoring.cost import count_macs
from mimii_pl.tracking.logger import Recorder

log = logging.getLogger(__name__)
STEPS_PER_BATCH = 16  # of detectors whose steps are small
STEP_HOOKS = (  # of a detector or a callback, called for each step or changing what it does
    "backward",
    "configure_gradient_clipping",
    "configure_optimizers",
    "on_after_backward",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "optimizer_step",
    "optimizer_zero_grad",
    "training_step",
)


def train_detector(
    trainer: pl.Trainer,
    detector: Detector,
    data: MachineSounds,
    recorder: Recorder,
    run_dir: Path,
    pruner: pl.Callback | None = None,
    threads: int | Literal["auto"] | None = None,
) -> None:
    """Train, from the last checkpoint if the run directory holds one, and write what scoring needs.

    Raises:
        TrialPruned: the pruner stopped the trial.
        KeyboardInterrupt: the user interrupted training.
    """
    data.crop = detector.crop
    if shares_batches(trainer, detector, data):
        data.steps_per_batch = STEPS_PER_BATCH
        detector.divide_batches(data.batch_size)
    data.fit_features(trainer.strategy.root_device)
    if detector.clips_per_step:
        data.keep_specs(trainer.strategy.root_device)
    clip_macs = require_long_clips(detector, data)
    if threads == AUTO:
        limit_threads(_chosen_threads(trainer, detector, step_macs(clip_macs, data), run_dir))
    if trainer.is_global_zero:
        _write_data_state(data, run_dir)
        recorder.start()
    last = last_checkpoint(run_dir / "checkpoints", [name for name, _ in detector.named_parameters()])
    trainer.strategy.checkpoint_io = AtomicCheckpoints()
    watch = Stopwatch()
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
    callbacks[:0] = [callback for callback in (watch, pruner) if callback is not None]
    too_short = too_short_named(detector.name, data.in_shape)  # for a last batch of one clip
    kept = detector.keep_embeddings(data.cache_dir)
    with recorder.sending(), _damage_named(last, watch, type(detector)), _missing_metric_named(), too_short, kept:
        trainer.fit(detector, data, ckpt_path=last, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        _write_training_facts(trainer, detector, watch, run_dir)


def step_macs(clip_macs: float, data: MachineSounds) -> float:
    """Estimate the multiply-accumulates of the loss of a step from those of a whole clip, with `data.crop` set."""
    share = min(1.0, data.crop.frames / data.in_shape[2]) if data.crop else 1.0
    return clip_macs * share * data.batch_size


def _chosen_threads(trainer: pl.Trainer, detector: Detector, macs: float, run_dir: Path) -> int:
    """Choose the number of threads by the work in a step, and note it in run.json; a resumed run keeps its own."""
    if (known := read_facts(run_dir).get("threads")) is not None:
        return known
    threads = torch.get_num_threads()
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if on_cpu and not detector.training_free and macs < SMALL_STEP:
        threads = 1
    if trainer.is_global_zero:
        write_facts(run_dir, threads=threads)
    return threads


def shares_batches(trainer: pl.Trainer, detector: Detector, data: MachineSounds) -> bool:
    """Return True if several steps of a detector may share a batch: they are small, and nobody looks between them.

    Batches are gathered, represented and reported by Lightning as a whole; the steps are those of single batches.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
    watched = _has_step_hook(detector, Detector) or any(_has_step_hook(each, pl.Callback) for each in callbacks)
    whole_epochs = all(
        isinstance(share, float) and share == 1 for share in (trainer.limit_train_batches, trainer.val_check_interval)
    )
    one_device = isinstance(trainer.strategy, SingleDeviceStrategy) and trainer.precision != "16-mixed"
    alone = one_device and trainer.accumulate_grad_batches == 1 and not trainer.gradient_clip_val
    plain = alone and whole_epochs and trainer.max_steps == -1 and not data.augmentation
    return detector.small_steps and plain and not watched


def _has_step_hook(one: object, base: type) -> bool:
    """Return True if an object has a hook of `STEP_HOOKS` other than that of its base class."""
    return any(getattr(type(one), name) is not getattr(base, name) for name in STEP_HOOKS if hasattr(base, name))


def require_long_clips(detector: Detector, data: MachineSounds) -> float:
    """Compute the loss of a clip, which changes nothing; return its multiply-accumulates.

    Returns:
        Infinity for a detector of the user's whose loss needs a trainer.

    Raises:
        InputError: the clip is too short for the features or the detector.
    """
    detector.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), too_short_named(detector.name, data.in_shape):
            return count_macs(partial(detector.loss, data.whole_clip()))
    except InputError:
        raise
    except Exception as error:  # of a detector of the user's: training raises it, with all that belongs to it
        log.debug("the loss of one clip: %s", error)
        return math.inf
    finally:
        detector.train()


@contextmanager
def _damage_named(checkpoint: Path | None, watch: Stopwatch, detector: type[Detector]) -> Iterator[None]:
    """Name the checkpoint if its content ends training before it has begun."""
    try:
        yield
    except Exception:
        if checkpoint is None or watch.started:
            raise
        with damaged(checkpoint, [detector]):
            raise


@contextmanager
def _missing_metric_named() -> Iterator[None]:
    """Name the metric that a callback monitors (`monitor: val/los`) if the detector does not log it."""
    try:
        yield
    except (MisconfigurationException, RuntimeError) as error:
        if not re.search(r"conditioned on metric|could not find the monitored key", str(error)):
            raise
        raise InputError(f"trainer.callbacks: {one_line(error)}") from None


def _write_data_state(data: MachineSounds, run_dir: Path) -> None:
    fitted: Any = data.features.fitted  # statistics of the training clips, if the features use any
    if fitted is not None:
        write_arrays(run_dir / "features.npz", {name: part.cpu().numpy() for name, part in fitted._asdict().items()})
    write_clips(data, run_dir)
    form = {"samples": data.samples, "sample_rate": data.sample_rate}
    write_facts(run_dir, status="running", run_dir=str(run_dir), labels=data.labels, **form)
    if data.target:
        write_facts(run_dir, classes=data.classes)


def _write_training_facts(trainer: pl.Trainer, detector: Detector, watch: Stopwatch, run_dir: Path) -> None:
    checkpoint = trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    if checkpoint.best_model_score is None:
        raise InputError(
            "no epoch was trained and validated: training.epochs, trainer.max_epochs, trainer.max_time and "
            "trainer.limit_train_batches must leave at least one"
        )
    if not checkpoint.best_model_score.isfinite():
        raise InputError("training diverged: losses or weights are not finite numbers. Try a smaller model.lr")
    if read_facts(run_dir).get("epochs") == trainer.current_epoch:
        return  # resumed after its last epoch: the times are those of before
    write_facts(
        run_dir,
        checkpoint=str(Path(checkpoint.best_model_path).relative_to(run_dir)),
        epochs=trainer.current_epoch,
        parameters=sum(p.numel() for p in detector.parameters()),
        train_seconds=watch.seconds,
        seconds_per_epoch=watch.seconds / max(1, watch.epochs),
        validation_loss=float(checkpoint.best_model_score),
    )
