"""What every detector is: a LightningModule with a loss, a score per clip and, where it has one, an embedding."""

from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError

if TYPE_CHECKING:
    from mimii_pl.dataset._clip import Batch, Crop


class Detector(pl.LightningModule):
    """Base of all detectors. Higher scores are more anomalous.

    A subclass takes `in_shape` (C, F, N of one clip's representation) and `n_ids` (machine IDs heard in training)
    first, then its hyperparameters, all of them numbers, words or lists of such; it builds its modules from them, calls
    `self.save_hyperparameters()`, and implements `loss` and `score`, and `embed` where it has an embedding.
    """

    crop: "Crop | None" = None  # how much of a clip it trains on at a time; None: whole clips
    uses_machine_id = False  # whether `score` needs to know which machine it is

    def need_one_channel(self, in_shape: tuple[int, int, int]) -> None:
        """Raise InputError for features of more than one channel, such as the complex spectrum."""
        if in_shape[0] != 1:
            raise InputError(
                f"model={self.name} needs one channel, such as features=log_mel; these have shape {in_shape}"
            )

    def loss(self, batch: "Batch") -> Tensor:
        """Training criterion of a batch, a scalar."""
        raise NotImplementedError

    def score(self, batch: "Batch") -> Tensor:
        """Anomaly score of each clip, [B]; higher is more anomalous. Does not read `batch.anomalous`."""
        raise NotImplementedError

    def embed(self, batch: "Batch") -> Tensor:
        """Embedding of each clip [B, D], or of each of its windows [B, W, D], which back ends pool."""
        raise NotImplementedError(f"{type(self).__name__} has no embedding")

    def error_map(self, batch: "Batch") -> Tensor:
        """Where a clip is rebuilt badly: squared errors [B, F, N]; [B, 1, N] where frequencies are not told apart."""
        raise NotImplementedError(f"{type(self).__name__} rebuilds nothing")

    def classify(self, batch: "Batch") -> Tensor:
        """Probability of each class for each clip, [B, K]."""
        raise NotImplementedError(f"{type(self).__name__} tells no classes apart")

    @property
    def name(self) -> str:
        """Name on the command line: that of its module."""
        return type(self).__module__.rsplit(".", 1)[1]

    @property
    def has_embedding(self) -> bool:
        """Whether a back end can be fitted on this detector."""
        return self.supports("embed")

    def supports(self, method: str) -> bool:
        """Whether it has a method that not every detector has: `embed`, `error_map`, `classify`."""
        return getattr(type(self), method) is not getattr(Detector, method)

    def training_step(self, batch: "Batch", batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.note_loss("train/loss", loss, batch)
        return self.weighed(loss, batch_idx)

    def note_loss(self, name: str, loss: Tensor, batch: "Batch") -> None:
        """Log a loss, averaged over the clips of an epoch and of all processes.

        Lightning averages the numbers of clips over processes too, and cuts integers off: 2 and 1 would be 1.
        """
        clips = float(len(batch.wave))
        self.log(name, loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=clips)

    def weighed(self, loss: Tensor, batch_idx: int) -> Tensor:
        """The loss of this process's batch as it counts: gradients are averaged over processes as if all their batches
        were as large, and the last ones of an epoch may not be."""
        if self.trainer.world_size == 1:
            return loss
        return loss * self.trainer.train_dataloader.sampler.share(batch_idx)

    def validation_step(self, batch: "Batch", batch_idx: int) -> None:
        loss = self.loss(batch)
        self.note_loss("val/loss", loss, batch)

    def predict_step(self, batch: "Batch", batch_idx: int) -> tuple[Tensor, Tensor]:
        """Rows of the clips and their scores, both [B]."""
        return batch.clip, self.score(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr, fused=True)


def sliding_windows(spec: Tensor, frames: int, hop: int) -> Tensor:
    """Windows that cover a clip, [B, C, F, N] -> [B, W, C, F, frames]; the last one ends with the clip.

    Args:
        frames: frames of a window; a shorter clip is one window.
        hop: frames from one window to the next.
    """
    frames = min(frames, spec.shape[3])
    return torch.stack([spec[..., start : start + frames] for start in _starts(spec.shape[3], frames, hop)], dim=1)


def overlap_mean(windows: Tensor, frames: int, hop: int) -> Tensor:
    """What windows say of a clip of `frames` frames, averaged where they overlap: the way back from `cover`.

    Args:
        windows: [B, W, F, frames of a window], with the hop that `cover` had.

    Returns:
        [B, F, frames].
    """
    width = windows.shape[3]
    total = windows.new_zeros(windows.shape[0], windows.shape[2], frames)
    count = windows.new_zeros(frames)
    for window, start in zip(windows.unbind(1), _starts(frames, width, hop), strict=True):
        total[..., start : start + width] += window
        count[start : start + width] += 1
    return total / count


def _starts(total: int, frames: int, hop: int) -> list[int]:
    return [*range(0, total - frames, hop), total - frames]
