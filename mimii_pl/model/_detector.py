"""The base class of all detectors: a LightningModule with a loss, a score per clip and, optionally, an embedding."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.core.lean_optimizers import LeanAdam
from mimii_pl.dataset._clip import Batch, Crop

if TYPE_CHECKING:
    from lightning_fabric.utilities.data import AttributeDict

Integers = list[int] | tuple[int, ...]  # a list in YAML; a tuple as a default, since it is immutable
MORE_FRAMES = "set a smaller features.hop (with features.n_fft), or longer clips by dataset.seconds"
_passing = threading.Lock()  # held while a block of `one_pass` begins or ends
_TOO_SMALL = re.compile(  # errors of layers whose input is smaller than they need
    r"(Calculated padded input size.*?)?Kernel size can't be greater than actual input size"
    r"|Expected more than 1 value per channel when training, got input size [^\n]*?\]\)"
    r"|maximum size for tensor at dimension \d+ is -?\d+ but size is \d+"
    r"|[^\n]*Output size is too small"
)


class Detector(pl.LightningModule):
    """Base class of all detectors. Higher scores are more anomalous.

    A subclass takes `in_shape` (C, F, N of one clip's representation) and `n_ids` (number of machine IDs in training)
    first, then its hyperparameters: numbers, strings, or lists of them. It builds its modules, calls
    `self.save_hyperparameters()`, and implements `loss` and `score`, and `embed` if it has an embedding.
    """

    crop: Crop | None = None  # the part of a clip it trains on at a time; None: whole clips
    small_steps = False  # True if a step takes so little time that several share a batch; its loss reads no waveform
    clips_per_step: int | None = None  # set where a batch is divided into several steps; None: each batch is one step
    trains_in_bfloat16 = False  # True if its training is faster so, on CPUs that have it too
    training_free = False  # True if there are no weights, and so no checkpoint to choose
    one_thread_per_batch = (
        False  # True if batches take less time by a thread each than one by all, and computing changes nothing in it
    )
    exportable = True  # False if its score is no fixed sequence of operations on tensors
    uses_machine_id = False  # True if `score` depends on the machine ID
    views: Mapping[str, slice] = MappingProxyType({})  # named parts of the embedding, which back ends may use alone
    divides_ids = False  # True for a classifier that takes several classes per machine ID, `dataset.classes`
    shared: tuple[str, ...] = ("embed",)  # methods of a batch that several of its outputs build on
    _passes = 0  # blocks of `one_pass` that run
    hparams: "AttributeDict"  # a type only: Lightning also allows mappings without attribute access

    def need_one_channel(self, in_shape: tuple[int, int, int]) -> None:
        """Raise InputError for features of more than one channel, such as the complex spectrum."""
        if in_shape[0] != 1:
            raise InputError(
                f"model={self.name} needs one channel, such as features=log_mel; these features have shape {in_shape}"
            )

    def loss(self, batch: Batch) -> Tensor:
        """Compute the training loss of a batch, a scalar."""
        raise NotImplementedError

    def score(self, batch: Batch) -> Tensor:
        """Compute the anomaly score of each clip, [B]; higher is more anomalous. Does not read `batch.anomalous`."""
        raise NotImplementedError

    def embed(self, batch: Batch) -> Tensor:
        """Compute an embedding of each clip, [B, D], or of each of its windows, [B, W, D], which back ends pool."""
        raise NotImplementedError(f"{type(self).__name__} has no embedding")

    def error_map(self, batch: Batch) -> Tensor:
        """Compute squared reconstruction errors, [B, F, N]; [B, 1, N] if the detector does not resolve frequency."""
        raise NotImplementedError(f"{type(self).__name__} does not reconstruct its input")

    def classify(self, batch: Batch) -> Tensor:
        """Compute the probability of each class for each clip, [B, K]."""
        raise NotImplementedError(f"{type(self).__name__} is not a classifier")

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Compute what `shared` names once per batch while the block runs; neither weights nor batch may change in it.

        Blocks may be nested, and run in several threads at a time.
        """
        with _passing:
            self._passes += 1
            if self._passes == 1:
                self.__dict__.update({name: _once_per_batch(getattr(self, name)) for name in self.shared})
        try:
            yield
        finally:
            with _passing:
                self._passes -= 1
                if self._passes == 0:
                    for name in self.shared:
                        del self.__dict__[name]

    @contextmanager
    def keep_embeddings(self, folder: Path) -> Iterator[None]:
        """Keep embeddings that take long to compute in a folder while the block runs; most detectors keep none."""
        yield

    @property
    def name(self) -> str:
        """Name on the command line, which is the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def has_embedding(self) -> bool:
        """True if a back end can be fitted on this detector."""
        return self.supports("embed")

    def supports(self, method: str) -> bool:
        """Return True if the detector implements an optional method: `embed`, `error_map` or `classify`."""
        return getattr(type(self), method) is not getattr(Detector, method)

    def divide_batches(self, clips: int) -> None:
        """Take an optimizer step for each `clips` clips of a training batch, not one per batch."""
        self.clips_per_step, self.automatic_optimization = clips, False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Log the loss and return it; None for a detector that steps its optimizers itself."""
        loss = self._take_steps(batch, self.clips_per_step) if self.clips_per_step else self.loss(batch)
        self.log_loss("train/loss", loss, batch)
        return None if self.clips_per_step else self.weight_loss(loss, batch_idx)

    def _take_steps(self, batch: Batch, clips: int) -> Tensor:
        """Take an optimizer step for each `clips` clips of a batch; their mean loss, a scalar."""
        optimizer, counted = self.optimizers(use_pl_optimizer=False), self.optimizers()
        assert not isinstance(optimizer, list)
        assert not isinstance(counted, list)
        total, parts = batch.wave.new_zeros(()), batch.split(clips)
        counter = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        counter.increment_by(len(parts) - 1)  # so that `trainer.global_step` counts all, of which Lightning sees one
        for part in parts:
            optimizer.zero_grad()
            loss = self.loss(part)
            loss.backward()
            (counted if part is parts[-1] else optimizer).step()
            total += loss.detach() * len(part.wave)
        return total / len(batch.wave)

    def log_loss(self, name: str, loss: Tensor, batch: Batch) -> None:
        """Log a loss, averaged over the clips of an epoch and over all processes.

        The number of clips is a float: Lightning averages it over processes too, and would truncate the mean of 2 and 1
        to 1.
        """
        self.log(
            name,
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            sync_dist=True,
            batch_size=float(len(batch.wave)),  # type: ignore[arg-type]  # declared as an integer
        )

    def weight_loss(self, loss: Tensor, batch_idx: int) -> Tensor:
        """Weight the loss of this process's batch by its share of the clips in the step.

        Gradients are averaged over processes as if all batches were of the same size; the last ones of an epoch may not
        be.
        """
        if self.trainer.world_size == 1:
            return loss
        loader = self.trainer.train_dataloader
        assert loader is not None
        return loss * loader.sampler.share(batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of held-out clips."""
        loss = self.loss(batch)
        self.log_loss("val/loss", loss, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        """Return Adam with the learning rate `lr`."""
        return LeanAdam(self.parameters(), lr=self.hparams.lr)


def _once_per_batch(method: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    last = threading.local()  # each thread has a batch of its own

    def computed(batch: Batch) -> Any:
        if getattr(last, "batch", None) is not batch:
            last.batch, last.value = batch, method(batch)
        return last.value

    return computed


@contextmanager
def too_short_named(name: str, in_shape: tuple[int, int, int]) -> Iterator[None]:
    """Name the options that make clips longer if a layer of a detector finds its input too small.

    Args:
        name: of the detector.
        in_shape: (C, F, N) of a clip's representation.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or (found := _TOO_SMALL.search(one_line(error))) is None:
            raise
        single = (
            "choose a dataset.batch_size that leaves no last batch of one, or " if "than 1 value" in found[0] else ""
        )
        raise InputError(
            f"model={name}: clips of {in_shape[2]} frames of {in_shape[1]} bins are too small for its layers "
            f"({found[0]}): {single}{MORE_FRAMES}"
        ) from error


def spec_of(batch: Batch) -> Tensor:
    """Return the representation of a batch, [B, C, F, N]; it is set once the batch is on the device."""
    assert batch.spec is not None
    return batch.spec


def in_parts(x: Tensor, size: int) -> Sequence[Tensor]:
    """Divide windows [M, ...] into parts of at most `size`, which bounds memory; one part for an exported graph."""
    return [x] if torch.compiler.is_exporting() else x.split(size)


def sliding_windows(spec: Tensor, frames: int, hop: int) -> Tensor:
    """Cut windows that cover a clip, [B, C, F, N] -> [B, W, C, F, frames]; the last one ends with the clip.

    Args:
        frames: frames of a window; a shorter clip is one window.
        hop: frames from one window to the next.
    """
    frames = min(frames, spec.shape[3])
    return torch.stack([spec[..., start : start + frames] for start in _starts(spec.shape[3], frames, hop)], dim=1)


def overlap_mean(windows: Tensor, frames: int, hop: int) -> Tensor:
    """Average overlapping windows into one map of `frames` frames: the inverse of `sliding_windows`.

    Args:
        windows: [B, W, F, frames of a window].
        frames: frames of the clip.
        hop: frames from one window to the next, as for `sliding_windows`.

    Returns:
        [B, F, frames].
    """
    width = windows.shape[3]
    starts = _starts(frames, width, hop)
    if hop == 1:  # one term for each frame of a window: few, where there are many windows
        shifts = windows.permute(3, 0, 2, 1)  # [width, B, F, W]
        total = sum(F.pad(shift, (at, width - 1 - at)) for at, shift in enumerate(shifts.unbind(0)))
    else:
        places = [(start, frames - width - start) for start in starts]
        total = sum(F.pad(window, place) for window, place in zip(windows.unbind(1), places, strict=True))
    count = np.zeros(frames, np.float32)
    np.add.at(count, np.add.outer(starts, np.arange(width)), 1)
    return total / torch.from_numpy(count).to(windows.device)


def _starts(total: int, frames: int, hop: int) -> list[int]:
    return [*range(0, total - frames, hop), total - frames]
