"""Base class of the auto-encoders over windows of consecutive frames: one loss, one score, one embedding."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector, overlap_mean, spec_of
from mimii_pl.model._windows import FrameWindows


class WindowAE(Detector):
    """Base class of the auto-encoders over windows of consecutive frames; unseen sounds are reconstructed badly.

    A subclass takes its own options and passes `**window` on, then sets `self.encoder` and `self.decoder`, which map
    windows [M, `self.width`] to the bottleneck [M, D] and back. Score: squared error, averaged over a window's values
    and the clip's windows. Embedding: the bottleneck of each window.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        frames: frames of a window.
        tile: windows per tile, see `FrameWindows`.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.
        lr: Adam's learning rate.
    """

    small_steps = True
    one_thread_per_batch = True
    shared = ("embed", "windows", "reconstructed")
    encoder: Callable[[Tensor], Tensor]
    decoder: Callable[[Tensor], Tensor]

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
        """Cut every window of consecutive frames, flattened frame by frame: [B, 1, F, N] -> [B, W, frames * F]."""
        return self.cut(batch)

    def reconstruction(self, x: Tensor) -> Tensor:
        """Reconstruct windows, [M, width] -> [M, width]."""
        return self.decoder(self.encoder(x))

    def reconstructed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return every window as it is reconstructed and as it is, flattened frame by frame, [B * W, frames * F]."""
        windows = self.windows(batch).flatten(0, 1)
        return self.reconstruction(windows), windows

    def squared_errors(self, batch: Batch) -> Tensor:
        """Compute the squared reconstruction errors of each window, flattened frame by frame, [B, W, frames * F]."""
        errors = F.mse_loss(*self.reconstructed(batch), reduction="none")
        return errors.unflatten(0, (spec_of(batch).shape[0], -1))

    def errors(self, batch: Batch) -> Tensor:
        """Compute the mean squared error of each window, [B, W]."""
        return self.squared_errors(batch).mean(dim=2)

    def loss(self, batch: Batch) -> Tensor:
        return F.mse_loss(*self.reconstructed(batch))  # in one pass over the windows

    def score(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean(dim=1)

    def error_map(self, batch: Batch) -> Tensor:
        squared = self.squared_errors(batch).unflatten(2, (-1, self.bins)).transpose(2, 3)  # [B, W, F, frames]
        before = (self.frames - squared.shape[3]) // 2  # if only the middle of a window is reconstructed
        before += self.hparams.frame_range[0] if self.hparams.frame_range else 0
        covered = overlap_mean(squared, squared.shape[1] + squared.shape[3] - 1, 1)
        return F.pad(covered, (before, spec_of(batch).shape[3] - before - covered.shape[2]))

    def embed(self, batch: Batch) -> Tensor:
        """Compute the bottleneck of each window, [B, W, D]."""
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).view(*windows.shape[:2], -1)
