"""Convolutional auto-encoder over windows of frames."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.model._conv import ConvDecoder, ConvEncoder, require_small
from mimii_pl.model._detector import Integers
from mimii_pl.model._window_ae import WindowAE


class ConvAE(WindowAE):
    """Convolutional auto-encoder that treats a log-mel window as an image of `frames` x F.

    One of the MIMII framework's auto-encoders, and slower to train than the dense ones. Convolutions with ReLU and
    pooling by 2 (rounded up), a dense bottleneck, and the mirror image. Every frame is reconstructed, since each level
    is resized to its input size; the source document's code loses the fifth frame.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        channels: channels of the convolutions; pooling follows each but the last.
        kernel: size of the square kernels.
        bottleneck: units of the dense middle layer.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        channels: Integers = (16, 32, 64),
        kernel: int = 3,
        bottleneck: int = 32,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        require_small(f"model.kernel={kernel}", [kernel], (self.frames, self.bins))
        stack = [1, *channels], [kernel] * len(channels)
        self.convolve, self.mirror = ConvEncoder(*stack, pools=len(channels) - 1), ConvDecoder(*stack)
        *self.sizes, size = self.convolve.sizes((self.frames, self.bins))
        flat = channels[-1] * size[0] * size[1]
        self.flatten = nn.Sequential(nn.Flatten(), nn.Linear(flat, bottleneck))
        self.unflatten = nn.Sequential(nn.Linear(bottleneck, flat), nn.ReLU(), nn.Unflatten(1, (channels[-1], *size)))

    def encoder(self, x: Tensor) -> Tensor:
        image = x.unflatten(1, (1, self.frames, self.bins))
        return self.flatten(self.convolve(image)[0])

    def decoder(self, z: Tensor) -> Tensor:
        return self.mirror(self.unflatten(z), self.sizes).flatten(1)
