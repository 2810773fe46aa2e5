"""Spectral shape classifier: slices share their weights."""

from torch import Tensor, nn

from mimii_pl.model._encoders import SpectralShape, dense
from mimii_pl.model._window_classifier import WindowClassifier


class SSClassifier(SpectralShape, WindowClassifier):
    """Spectral shape classifier of the MIMII framework: the encoder of `ss_ae`, a dense layer and a linear one.

    With 64 bands x 5 frames and the defaults it has 16,176 parameters before the last layer; the source document's
    16,193 are these and one output. `simple_classifier` has 22,624 (there 22,657).

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        hidden: numbers per slice (frame).
        basis: vectors of the basis.
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
        **window,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.build_shape(self.frames, self.bins, hidden, basis, bottleneck)
        self.last = nn.Sequential(*dense(bottleneck, width))
        self.set_head(width)

    def encoder(self, x: Tensor) -> Tensor:
        return self.last(self.shape(x))
