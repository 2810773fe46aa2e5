"""Dense classifiers of windows of frames."""

from torch import nn

from mimii_pl.model._encoders import dense
from mimii_pl.model._window_classifier import WindowClassifier


class SimpleClassifier(WindowClassifier):
    """Dense classifier of windows of log-mel frames: width-hidden-classes, with ReLU.

    The preset `deep_classifier` is another depth of the same network.

    Args:
        in_shape: (1, F, N) of a log-mel spectrum.
        n_classes: classes.
        hidden: units of the layers.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, hidden: list[int] = (64, 32), **window
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.encoder = nn.Sequential(*dense(self.width, *hidden))
        self.set_head(hidden[-1])
