"""MobileFaceNet for spectra of any length: the encoder of the STgram family."""

import torch
from torch import Tensor, nn

from mimii_pl.model._complex import PReLU
from mimii_pl.model._inverted_residual import InvertedResidual, conv_block

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
        layers: list[nn.Module] = [
            conv_block(channels, STEM, 3, 2, activation=PReLU),
            conv_block(STEM, STEM, 3, groups=STEM, activation=PReLU),
        ]
        before = STEM
        for expansion, after, blocks, stride in BOTTLENECKS:
            for number in range(blocks):
                step = stride if number == 0 else 1
                layers.append(InvertedResidual(before, after, expansion, step, activation=PReLU))
                before = after
        self.layers = nn.Sequential(*layers, conv_block(before, WIDEST, 1, activation=PReLU))
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
