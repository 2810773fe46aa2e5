"""Recurrent classifier: reads a window frame by frame."""

from typing import Any

from mimii_pl.model._encoders import LSTMEncoder
from mimii_pl.model._window_classifier import WindowClassifier


class LSTMClassifier(WindowClassifier):
    """LSTM classifier that reads a log-mel window frame by frame (encoder: Malhotra et al., ICML workshop 2016).

    One of the MIMII framework's classifiers: the encoder of `lstm_ae`, one spectrum per time step, followed by a linear
    layer on its last hidden state.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: units of each LSTM layer.
        layers: LSTM layers.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, hidden: int = 64, layers: int = 2, **window: Any
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.encoder = LSTMEncoder(self.frames, self.bins, hidden, layers)
        self.set_head(hidden)
