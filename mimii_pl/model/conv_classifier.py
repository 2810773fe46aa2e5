"""Convolutional classifier of windows of frames."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.model._conv import ConvEncoder, require_small
from mimii_pl.model._detector import Integers
from mimii_pl.model._window_classifier import WindowClassifier


class ConvClassifier(WindowClassifier):
    """Convolutional classifier that treats a log-mel window as an image of `frames` x F.

    One of the MIMII framework's classifiers: the encoder of `conv_ae` with ReLU after its dense bottleneck, followed by
    a linear layer.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        channels: channels of the convolutions; pooling by 2 follows each but the last.
        kernel: size of the square kernels.
        bottleneck: units of the dense layer.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        channels: Integers = (16, 32, 64),
        kernel: int = 3,
        bottleneck: int = 32,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        require_small(f"model.kernel={kernel}", [kernel], (self.frames, self.bins))
        self.convolve = ConvEncoder([1, *channels], [kernel] * len(channels), pools=len(channels) - 1)
        height, width = self.convolve.sizes((self.frames, self.bins))[-1]
        flat = channels[-1] * height * width
        self.flatten = nn.Sequential(nn.Flatten(), nn.Linear(flat, bottleneck), nn.ReLU())
        self.set_head(bottleneck)

    def encoder(self, x: Tensor) -> Tensor:
        image = x.unflatten(1, (1, self.frames, self.bins))
        return self.flatten(self.convolve(image)[0])
