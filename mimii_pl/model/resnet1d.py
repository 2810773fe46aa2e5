"""Residual network on the raw waveform."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import NetworkClassifier
from mimii_pl.model._detector import Integers


class ResNet1d(NetworkClassifier):
    """Residual network on the raw waveform (He et al., CVPR 2016; on waveforms Dai et al., ICASSP 2017).

    A one-dimensional classifier that reads the waveform instead of features. A wide strided convolution, then stages of
    two residual blocks with stride 4 between them, and the mean over time. Clips are scaled to an RMS of 1, so that the
    level does not reveal the class.

    Args:
        in_shape: (C, F, N) of the features; not used, it reads the waveform.
        n_classes: number of classes.
        channels: channels of each stage.
        frames: frames of the features (512 samples each) that an excerpt spans in training.
        excerpt: samples classified at a time.
        **training: see `NetworkClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        channels: Integers = (32, 64, 128),
        frames: int = 32,
        excerpt: int = 16384,
        **training: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **training)
        self.crop = Crop(frames, tile=True)
        layers: list[nn.Module] = [_conv(1, channels[0], 64, 8), nn.ReLU()]
        for before, after in zip([channels[0], *channels[:-1]], channels, strict=True):
            layers += [_Block(before, after, 4), _Block(after, after, 1)]
        self.encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.head = nn.Linear(channels[-1], n_classes)

    def windows(self, batch: Batch) -> Tensor:
        """Cut excerpts that cover the clip, the last one ending with it, [B, T] -> [B, W, 1, T']."""
        wave = batch.wave / batch.wave.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-5)
        length = min(self.hparams.excerpt, wave.shape[1])
        starts = [*range(0, wave.shape[1] - length, length), wave.shape[1] - length]
        return torch.stack([wave[:, None, start : start + length] for start in starts], dim=1)


class _Block(nn.Module):
    """Two convolutions with batch norm, added to the input (projected if the shape changes)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(channels_in, channels_out, 9, stride), nn.ReLU(), _conv(channels_out, channels_out, 9, 1)
        )
        same = stride == 1 and channels_in == channels_out
        self.short = nn.Identity() if same else _conv(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps, [M, C, T] -> [M, C', T']."""
        return F.relu(self.layers(x) + self.short(x))


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv1d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(channels_out))
