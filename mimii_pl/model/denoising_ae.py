"""Denoising auto-encoder: reconstructs the clean window from a noisy one."""

from typing import Any

import torch
from torch import Tensor, nn

from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._window_ae import WindowAE


class DenoisingAE(WindowAE):
    """Dense auto-encoder trained to remove Gaussian noise from log-mel windows (Vincent et al., ICML 2008).

    One of the MIMII framework's auto-encoders. Windows are scored without added noise.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: units of the layers from input to bottleneck; the decoder mirrors them.
        bottleneck: units of the middle layer.
        noise: standard deviation of the noise, in units of the features.
        dropout: share of hidden units dropped in training.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: Integers = (128, 64),
        bottleneck: int = 16,
        noise: float = 0.1,
        dropout: float = 0.2,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        self.encoder = nn.Sequential(*dense(self.width, *hidden, dropout=dropout), nn.Linear(hidden[-1], bottleneck))
        self.decoder = nn.Sequential(
            *dense(bottleneck, *reversed(hidden), dropout=dropout), nn.Linear(hidden[0], self.width)
        )

    def reconstruction(self, x: Tensor) -> Tensor:
        noisy = x + self.hparams.noise * torch.randn_like(x) if self.training else x
        return super().reconstruction(noisy)
