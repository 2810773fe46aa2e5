"""Classifier with self-attention over frames."""

from typing import Any

from mimii_pl.model._encoders import attention_encoder
from mimii_pl.model._window_classifier import WindowClassifier


class AttentionClassifier(WindowClassifier):
    """Classifier with self-attention over the frames of a log-mel window (Vaswani et al., NeurIPS 2017).

    One of the MIMII framework's classifiers: the encoder of `attention_ae`, followed by a linear layer.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: size of a token; a multiple of `heads`.
        heads: attention heads.
        squeeze: units of the dense layer.
        bottleneck: units of the embedding.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        hidden: int = 64,
        heads: int = 8,
        squeeze: int = 128,
        bottleneck: int = 64,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.encoder = attention_encoder(self.frames, self.bins, hidden, heads, squeeze, bottleneck)
        self.set_head(bottleneck)
