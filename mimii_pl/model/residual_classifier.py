"""Classifier of residual blocks."""

from typing import Any

from torch import nn

from mimii_pl.model._encoders import ResidualBlock
from mimii_pl.model._window_classifier import WindowClassifier


class ResidualClassifier(WindowClassifier):
    """Dense classifier of log-mel windows whose hidden layers are residual blocks (He et al., CVPR 2016).

    One of the MIMII framework's classifiers: the encoder of `residual_ae`, followed by a linear layer.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: width of the blocks.
        blocks: residual blocks.
        bottleneck: units of the embedding.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        hidden: int = 128,
        blocks: int = 2,
        bottleneck: int = 16,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        inner = (ResidualBlock(hidden) for _ in range(blocks))
        self.encoder = nn.Sequential(nn.Linear(self.width, hidden), *inner, nn.Linear(hidden, bottleneck))
        self.set_head(bottleneck)
