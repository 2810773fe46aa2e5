"""Plain spectra: a representation for back ends that needs no training."""

from typing import Literal

import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import MORE_FRAMES, spec_of
from mimii_pl.model._training_free import TrainingFree


class Spectrum(TrainingFree):
    """Windows of the plain spectrum as embeddings for a back end, without training (Wilkinghoff, TASLP 2025).

    Use it with a back end as a strong baseline: with one frame and `backend.pool=mean` the embedding is the time-mean
    spectrum. Without a back end, the score is the mean squared deviation of a clip's windows from those of the training
    clips, in standard deviations of each value.

    Args:
        in_shape: (1, F, N) of a spectrum in dB.
        n_ids: number of machine IDs; not used.
        frames: frames of a window.
        scale: `db`, as the features are, or `amplitude`, linear magnitude.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        frames: int = 1,
        scale: Literal["db", "amplitude"] = "db",
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        if in_shape[2] < frames:
            raise InputError(
                f"clips of {in_shape[2]} frames are shorter than one window of model.frames={frames}: {MORE_FRAMES}"
            )
        self.save_hyperparameters()
        width = frames * in_shape[1]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.sums = torch.zeros(3, width, dtype=torch.float64)  # count, sum, sum of squares

    def observe(self, batch: Batch) -> None:
        windows = self.embed(batch).flatten(0, 1).double().cpu()
        self.sums += torch.stack([torch.ones_like(windows), windows, windows.square()]).sum(dim=1)

    def finish_fit(self) -> None:
        count, total, squares = self.sums
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=0).sqrt())
        self.sums.zero_()

    def score(self, batch: Batch) -> Tensor:
        floor = 1e-3 * self.std.max() + 1e-9  # so that a value that never varied does not dominate
        return ((self.embed(batch) - self.mean) / self.std.clamp(min=floor)).square().mean(dim=(1, 2))

    def embed(self, batch: Batch) -> Tensor:
        """Cut windows of consecutive frames, [B, W, frames * F]."""
        spec = spec_of(batch)[:, 0]
        scaled = spec if self.hparams.scale == "db" else 10 ** (spec / 20)
        return scaled.unfold(2, self.hparams.frames, 1).permute(0, 2, 3, 1).flatten(2)
