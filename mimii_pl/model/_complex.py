"""Complex-valued layers; a complex tensor is the pair of its real and imaginary part, each [B, C, F, N]."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Parts = tuple[Tensor, Tensor]


class ComplexConv2d(nn.Module):
    """Complex convolution, computed with three real ones.

    (A + iB)(x + iy) = (Ax - By) + i(Bx + Ay) (Trabelsi et al., Deep Complex Networks, ICLR 2018) needs only A(x + y),
    (B - A)x and (A + B)y: Gauss's trick, which saves a quarter of the multiplications. With one input channel the parts
    are stacked instead, which is faster there. No bias, since a batch norm follows.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.real = nn.Parameter(torch.empty(channels_out, channels_in, *kernel))
        self.imag = nn.Parameter(torch.empty(channels_out, channels_in, *kernel))
        for part in (self.real, self.imag):
            nn.init.kaiming_normal_(part, mode="fan_out", nonlinearity="relu")

    def forward(self, z: Parts) -> Parts:
        """Convolve two parts [B, channels_in, F, N] to two parts [B, channels_out, F', N']."""
        (x, y), a, b = z, self.real, self.imag
        if a.shape[1] == 1:
            xy = torch.cat(z, dim=1)
            return self._convolve(xy, torch.cat((a, -b), dim=1)), self._convolve(xy, torch.cat((b, a), dim=1))
        both = self._convolve(x + y, a)
        return both - self._convolve(y, a + b), both + self._convolve(x, b - a)

    def _convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(x, kernel, stride=self.stride, padding=self.padding)


class PerPart(nn.Module):
    """A real layer for each part, with separate parameters."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.real, self.imag = layer(), layer()

    def forward(self, z: Parts) -> Parts:
        return self.real(z[0]), self.imag(z[1])


class PReLU(nn.Module):
    """Parametric ReLU with one slope per channel (He et al., ICCV 2015).

    On the CPU its own backward pass is several times faster than torch's (first layer of `complex_ssl`, batch 32).
    """

    def __init__(self, channels: int, slope: float = 0.25) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), slope))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slope) if x.is_cuda else _PReLU.apply(x, self.slope)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(grad, x, 0)  # grad where x > 0, else 0
        negative = grad - positive
        return torch.addcmul(positive, negative, slope.view(-1, 1, 1)), (negative * x).sum((0, 2, 3))


def squared_magnitude(z: Parts) -> Tensor:
    """Compute the squared magnitude, two parts [B, C, F, N] -> [B, C, F, N]."""
    return z[0].square() + z[1].square()
