"""Convolutional encoder and decoder of images of any size, with or without skips between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """Convolution, ReLU, dropout and pooling by 2, level by level; odd sizes are rounded up.

    Args:
        channels: of each level, the input's first.
        kernels: size of each level's square kernel.
        dropout: share of channels left out in training.
        pools: levels that are pooled, from the first; None: all.
    """

    def __init__(self, channels: list[int], kernels: list[int], dropout: float = 0.0, pools: int | None = None) -> None:
        super().__init__()
        self.pools = len(kernels) if pools is None else pools
        shapes = zip(channels[:-1], channels[1:], kernels, strict=True)
        self.levels = nn.ModuleList(
            nn.Sequential(same_conv(*shape), nn.ReLU(), nn.Dropout2d(dropout)) for shape in shapes
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, C, F, N] -> what comes out of the last level, and what each level gave before pooling."""
        before = []
        for depth, level in enumerate(self.levels):
            before.append(level(x))
            x = F.max_pool2d(before[-1], 2, ceil_mode=True) if depth < self.pools else before[-1]
        return x, before

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width at the entry of each level, and at the exit of the last, for an image of this size."""
        found = [size]
        for depth in range(len(self.levels)):
            height, width = found[-1]
            found.append((-(-height // 2), -(-width // 2)) if depth < self.pools else (height, width))
        return found


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: each level is brought to its mirror's size, then convolved.

    Args:
        channels: those of the encoder, input first.
        kernels: those of the encoder.
        dropout: share of channels left out in training, not in the last level.
        skip: stack what the mirror gave before pooling on each level but the last.
    """

    def __init__(self, channels: list[int], kernels: list[int], dropout: float = 0.0, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        levels = []
        for depth in reversed(range(len(kernels))):
            stacked = channels[depth + 1] if skip and depth else 0
            conv = same_conv(channels[depth + 1] + stacked, channels[depth], kernels[depth])
            levels.append(nn.Sequential(conv, nn.ReLU(), nn.Dropout2d(dropout)) if depth else conv)
        self.levels = nn.ModuleList(levels)

    def forward(self, x: Tensor, sizes: list[tuple[int, int]], before: list[Tensor] | None = None) -> Tensor:
        """[B, C, F', N'] -> [B, 1, F, N].

        Args:
            sizes: height and width at the entry of each level of the encoder.
            before: what the levels gave before pooling; for skips.
        """
        for depth, level in zip(reversed(range(len(sizes))), self.levels, strict=True):
            x = F.interpolate(x, size=sizes[depth])
            if self.skip and depth:
                x = torch.cat([x, before[depth]], dim=1)
            x = level(x)
        return x


def same_conv(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps height and width, for even kernels too."""
    before, after = (kernel - 1) // 2, kernel // 2
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), nn.Conv2d(channels_in, channels_out, kernel))
