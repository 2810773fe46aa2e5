"""Spectral shape classifier: frames share their weights."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.model._encoders import SpectralShape, dense
from mimii_pl.model._window_classifier import WindowClassifier


class SSClassifier(SpectralShape, WindowClassifier):
    """Spectral shape classifier of the MIMII framework, which shares weights to have few parameters.

    Use it if the model must be small: the encoder of `ss_ae`, followed by a dense and a linear layer. With 64 bands x 5
    frames and the defaults it has 16,176 parameters before the last layer; the source document's 16,193 include one
    output. `simple_classifier` has 22,624 (there 22,657).

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: values per slice (frame).
        basis: number of basis vectors.
        bottleneck: units after the basis.
        width: units of the dense layer.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        hidden: int = 64,
        basis: int = 32,
        bottleneck: int = 32,
        width: int = 16,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.build_shape(self.frames, self.bins, hidden, basis, bottleneck)
        self.last = nn.Sequential(*dense(bottleneck, width))
        self.set_head(width)

    def encoder(self, x: Tensor) -> Tensor:
        return self.last(self.shape(x))
