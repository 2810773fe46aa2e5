"""What the auto-encoders over windows of consecutive frames share: one loss, one score, one embedding."""

import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector, overlap_mean
from mimii_pl.model._windows import FrameWindows


class WindowAE(Detector):
    """Base of the auto-encoders over windows of consecutive frames: what was never heard is rebuilt badly.

    A subclass takes its own options and passes `**window` on, then sets `self.encoder` and `self.decoder`, which map
    windows [M, `self.width`] to the bottleneck [M, D] and back. Score: squared error, mean over a window's values and
    the clip's windows. Embedding: the bottleneck, window by window.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        frames: frames of a window.
        tile: windows per tile, see `FrameWindows`.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.
        lr: Adam's learning rate.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        frames: int = 5,
        tile: int = 8,
        frame_range: list[int] | None = None,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of the subclass too
        self.need_one_channel(in_shape)
        self.cut = FrameWindows(in_shape, frames, tile, frame_range)
        self.bins, self.frames, self.width, self.crop = self.cut.bins, frames, self.cut.width, self.cut.crop

    def windows(self, batch: Batch) -> Tensor:
        """Every window of consecutive frames, frame by frame in a row: [B, 1, F, N] -> [B, W, frames * F]."""
        return self.cut(batch)

    def reconstruction(self, x: Tensor) -> Tensor:
        """Windows as the network rebuilds them, [M, width] -> [M, width]."""
        return self.decoder(self.encoder(x))

    def squared(self, batch: Batch) -> Tensor:
        """Squared error of what is rebuilt of each window, frame by frame in a row, [B, W, frames * F]."""
        windows = self.windows(batch)
        flat = windows.flatten(0, 1)
        return (self.reconstruction(flat) - flat).square().view(*windows.shape[:2], -1)

    def errors(self, batch: Batch) -> Tensor:
        """Mean squared error of each window, [B, W]."""
        return self.squared(batch).mean(dim=2)

    def loss(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean()

    def score(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean(dim=1)

    def error_map(self, batch: Batch) -> Tensor:
        squared = self.squared(batch).unflatten(2, (-1, self.bins)).transpose(2, 3)  # [B, W, F, frames rebuilt]
        before = (self.frames - squared.shape[3]) // 2  # where only the middle of a window is rebuilt
        before += self.hparams.frame_range[0] if self.hparams.frame_range else 0
        heard = overlap_mean(squared, squared.shape[1] + squared.shape[3] - 1, 1)
        return F.pad(heard, (before, batch.spec.shape[3] - before - heard.shape[2]))

    def embed(self, batch: Batch) -> Tensor:
        """Bottleneck of each window, [B, W, D]."""
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).view(*windows.shape[:2], -1)
