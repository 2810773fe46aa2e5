"""Convolutional encoder and decoder for images of any size, with or without skip connections."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError


class ConvEncoder(nn.Module):
    """Levels of convolution, ReLU, dropout and pooling by 2; odd sizes are rounded up.

    Args:
        channels: channels of the input, then of each level.
        kernels: size of each level's square kernel.
        dropout: share of channels dropped in training.
        pools: number of levels, from the first, that are pooled; None: all.
    """

    def __init__(self, channels: list[int], kernels: list[int], dropout: float = 0.0, pools: int | None = None) -> None:
        super().__init__()
        self.pools = len(kernels) if pools is None else pools
        shapes = zip(channels[:-1], channels[1:], kernels, strict=True)
        self.levels = nn.ModuleList(
            nn.Sequential(same_conv(*shape), nn.ReLU(), nn.Dropout2d(dropout)) for shape in shapes
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images [B, C, F, N]; return the output of the last level, and of each level before pooling."""
        before = []
        for depth, level in enumerate(self.levels):
            before.append(level(x))
            x = F.max_pool2d(before[-1], 2, ceil_mode=True) if depth < self.pools else before[-1]
        return x, before

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """List height and width at the input of each level, then at the output of the last, for an image size."""
        sizes = [size]
        for depth in range(len(self.levels)):
            height, width = sizes[-1]
            sizes.append((math.ceil(height / 2), math.ceil(width / 2)) if depth < self.pools else (height, width))
        return sizes


class ConvDecoder(nn.Module):
    """Mirror of `ConvEncoder`: each level resizes to the input size of its mirror level, then convolves.

    Args:
        channels: those of the encoder, input first.
        kernels: those of the encoder.
        dropout: share of channels dropped in training, except in the last level.
        skip: concatenate the mirror level's output before pooling, except in the last level.
    """

    def __init__(self, channels: list[int], kernels: list[int], dropout: float = 0.0, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        levels: list[nn.Module] = []
        for depth in reversed(range(len(kernels))):
            stacked = channels[depth + 1] if skip and depth else 0
            conv = same_conv(channels[depth + 1] + stacked, channels[depth], kernels[depth])
            levels.append(nn.Sequential(conv, nn.ReLU(), nn.Dropout2d(dropout)) if depth else conv)
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor, sizes: list[tuple[int, int]], before: list[Tensor] | None = None) -> Tensor:
        """Decode images, [B, C, F', N'] -> [B, 1, F, N].

        Args:
            x: output of the encoder.
            sizes: height and width at the input of each level of the encoder.
            before: outputs of the encoder's levels before pooling, for skip connections.
        """
        for depth, level in zip(reversed(range(len(sizes))), self.levels, strict=True):
            x = F.interpolate(x, size=sizes[depth])
            if self.skip and depth:
                assert before is not None
                x = torch.cat([x, before[depth]], dim=1)
            x = level(x)
        return x


def require_small(option: str, kernels: Sequence[int], size: tuple[int, int]) -> None:
    """Raise InputError for a square kernel that is larger than twice the image: it would see nothing but padding more.

    Args:
        option: that sets it.
        kernels: size of each.
        size: height and width of the image.
    """
    if max(kernels) > 2 * max(size):
        raise InputError(f"{option}: {max(kernels)} is more than twice the image of {size[0]} x {size[1]}")


def same_conv(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Return a convolution that keeps height and width, for even kernels too."""
    before, after = (kernel - 1) // 2, kernel // 2
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(channels_in, channels_out, kernel))
