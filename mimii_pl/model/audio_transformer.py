"""Transformer over patches of the log-mel spectrum."""

from typing import Any

import torch
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.model._detector import MORE_FRAMES
from mimii_pl.model._encoders import require_multiple
from mimii_pl.model._image_classifier import ImageClassifier


class AudioTransformer(ImageClassifier):
    """Small audio spectrogram transformer on log-mel windows (Gong et al., Interspeech 2021).

    Trained from scratch. Patches of the window are tokens with learned positions; the embedding is the class token
    after the last layer. Layer norm comes first in each layer, so that no warm-up is needed (Xiong et al., ICML 2020).

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        patch: bins and frames of a patch; the remainder at the edges is ignored.
        hidden: size of a token; a multiple of `heads`.
        heads: attention heads.
        layers: transformer layers.
        dropout: share of values dropped in training.
        lr: Adam's learning rate.
        **window: see `ImageClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        patch: int = 16,
        hidden: int = 96,
        heads: int = 4,
        layers: int = 3,
        dropout: float = 0.1,
        lr: float = 5e-4,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, lr=lr, **window)
        require_multiple(hidden, heads)
        patches = (self.bins // patch) * (self.frames // patch)
        if not patches:
            raise InputError(
                f"model.patch={patch} does not fit in windows of {self.bins} bins x {self.frames} frames: {MORE_FRAMES}"
            )
        self.tokens = nn.Conv2d(1, hidden, patch, patch)
        self.token = nn.Parameter(torch.zeros(hidden))
        self.position = nn.Parameter(0.02 * torch.randn(1 + patches, hidden))
        layer = nn.TransformerEncoderLayer(
            hidden, heads, 4 * hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.head = nn.Linear(hidden, n_classes)

    def encoder(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x).flatten(2).transpose(1, 2)  # [M, patches, hidden]
        tokens = torch.cat([self.token.expand(x.shape[0], 1, -1), tokens], dim=1)
        return self.layers(tokens + self.position)[:, 0]
