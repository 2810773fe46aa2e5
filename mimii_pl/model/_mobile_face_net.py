"""MobileFaceNet for spectra of any length: the encoder of the STgram family."""

import torch
from torch import Tensor, nn

from mimii_pl.model._complex import PReLU

STEM = 64  # channels of the first two convolutions
BOTTLENECKS = ((2, 128, 2, 2), (4, 128, 2, 2), (4, 128, 2, 2))  # expansion, channels, blocks, stride of the first block
WIDEST = 512  # channels before the frequencies are weighted


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al., CCBR 2018) as STgram has it, with a mean over time in place of its fixed length.

    The original weights every position of a map of 8 x 20, that of 128 bands x 313 frames, by a global depthwise
    convolution. Here frames are averaged first, and the convolution weights frequencies alone: clips may be of any
    length, and crops in training shorter than the clips that are scored.

    Args:
        channels: of the input.
        bins: frequency bins F of the input.
        dimensions: of the embedding.
    """

    def __init__(self, channels: int, bins: int, dimensions: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(channels, STEM, 3, 2), _conv(STEM, STEM, 3, groups=STEM)]
        before = STEM
        for expansion, after, blocks, stride in BOTTLENECKS:
            for number in range(blocks):
                layers.append(Bottleneck(before, after, expansion, stride if number == 0 else 1))
                before = after
        self.layers = nn.Sequential(*layers, _conv(before, WIDEST, 1))
        halved = bins
        for _ in range(1 + len(BOTTLENECKS)):
            halved = (halved + 1) // 2
        self.frequencies = nn.Sequential(
            nn.Conv1d(WIDEST, WIDEST, halved, groups=WIDEST, bias=False), nn.BatchNorm1d(WIDEST)
        )
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(WIDEST, dimensions, bias=False), nn.BatchNorm1d(dimensions))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Conv2d):  # a third faster on a CPU
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Embed spectra, [B, C, F, N] -> [B, D]."""
        maps = self.layers(x.contiguous(memory_format=torch.channels_last))
        return self.last(self.frequencies(maps.mean(dim=3)))


class Bottleneck(nn.Module):
    """1 x 1 expansion, depthwise 3 x 3 and linear 1 x 1 projection, added to the input if the shapes are equal."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.layers = nn.Sequential(
            _conv(channels_in, inner, 1),
            _conv(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps, [B, C, F, N] -> [B, C', F', N']."""
        return x + self.layers(x) if self.adds else self.layers(x)


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), PReLU(channels_out))
