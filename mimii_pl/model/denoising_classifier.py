"""Dense classifier trained on noisy windows."""

from typing import Any

import torch
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._window_classifier import WindowClassifier


class DenoisingClassifier(WindowClassifier):
    """Dense classifier of log-mel windows with Gaussian noise and dropout in training (Vincent et al., ICML 2008).

    One of the MIMII framework's classifiers: the encoder of `denoising_ae` without its bottleneck, followed by a linear
    layer.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: units of the layers.
        noise: standard deviation of the noise, in units of the features.
        dropout: share of hidden units dropped in training.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        hidden: Integers = (128, 64),
        noise: float = 0.1,
        dropout: float = 0.2,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.encoder = nn.Sequential(*dense(self.width, *hidden, dropout=dropout))
        self.set_head(hidden[-1])

    def windows(self, batch: Batch) -> Tensor:
        windows = super().windows(batch)
        return windows + self.hparams.noise * torch.randn_like(windows) if self.training else windows
