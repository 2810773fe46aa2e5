"""Interpolation network: predicts the middle frame from its neighbours."""

from typing import Any

import torch
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._window_ae import WindowAE


class IDNN(WindowAE):
    """Interpolation deep neural network that predicts the middle frame of a window (Suefusa et al., ICASSP 2020).

    Use it for non-stationary machines such as valves: a transient fills its window and cannot be copied from within it,
    so rare but normal events raise the score less than with an auto-encoder. Score: mean squared error of the middle
    frames.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: units of the layers from input to bottleneck; the decoder mirrors them.
        bottleneck: units of the middle layer.
        **window: see `WindowAE`; `frames` must be odd.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: Integers = (64, 32),
        bottleneck: int = 16,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        if self.frames % 2 == 0:
            raise InputError(
                f"model.frames={self.frames}: model=idnn needs an odd number of frames, to predict the middle one"
            )
        self.encoder = nn.Sequential(*dense(self.width - self.bins, *hidden, bottleneck))
        self.decoder = nn.Sequential(*dense(bottleneck, *reversed(hidden)), nn.Linear(hidden[0], self.bins))

    def windows(self, batch: Batch) -> Tensor:
        """Cut windows and move their middle frame to the end, [B, W, frames * F]."""
        windows, middle = super().windows(batch), self.frames // 2 * self.bins
        before, inner, after = windows.split((middle, self.bins, middle), dim=2)
        return torch.cat([before, after, inner], dim=2)

    def reconstructed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        around, inner = self.windows(batch).flatten(0, 1).split((self.width - self.bins, self.bins), dim=1)
        return self.decoder(self.encoder(around)), inner

    def embed(self, batch: Batch) -> Tensor:
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)[:, : -self.bins]).view(*windows.shape[:2], -1)
