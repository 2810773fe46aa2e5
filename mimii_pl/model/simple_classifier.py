"""Dense classifier of windows of frames."""

from typing import Any

from torch import nn

from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._window_classifier import WindowClassifier


class SimpleClassifier(WindowClassifier):
    """Dense classifier of windows of log-mel frames, with layers width-hidden-classes and ReLU.

    One of the MIMII framework's classifiers, the simplest one to start with. The preset `deep_classifier` is a deeper
    version of the same network.

    Args:
        in_shape: (1, F, N) of a log-mel spectrum.
        n_classes: number of classes.
        hidden: units of the layers.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, hidden: Integers = (64, 32), **window: Any
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.encoder = nn.Sequential(*dense(self.width, *hidden))
        self.set_head(hidden[-1])
