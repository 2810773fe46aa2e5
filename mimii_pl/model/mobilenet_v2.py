"""MobileNetV2: the classifier of the DCASE 2021 and 2022 baselines."""

from typing import Any

from torch import nn

from mimii_pl.model._image_classifier import ImageClassifier
from mimii_pl.model._inverted_residual import InvertedResidual, conv_block

# expansion, channels, blocks, stride of the first block: table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(ImageClassifier):
    """MobileNetV2 on log-mel windows, the classifier of the DCASE 2021 task 2 baseline (Sandler et al., CVPR 2018).

    Use it to classify, or as an anomaly detector if there are several machine IDs. The baseline has a width of .5, and
    its classes are the sections of a machine type.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        width: multiplier of the channels.
        dropout: share of the embedding dropped in training.
        **window: see `ImageClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, width: float = 0.5, dropout: float = 0.2, **window: Any
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        channels, last = _scaled(32, width), _scaled(1280, max(1.0, width))
        layers: list[nn.Module] = [conv_block(1, channels, 3, 2, activation=_relu6)]
        for expansion, channels_out, blocks, stride in STAGES:
            for number in range(blocks):
                after = _scaled(channels_out, width)
                step = stride if number == 0 else 1
                layers.append(InvertedResidual(channels, after, expansion, step, activation=_relu6))
                channels = after
        self.encoder = nn.Sequential(
            *layers,
            conv_block(channels, last, 1, activation=_relu6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(last, n_classes)


def _relu6(channels: int) -> nn.Module:
    return nn.ReLU6()


def _scaled(channels: int, width: float) -> int:
    """Round `width` times the channels to a multiple of 8, but never below nine tenths of it."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded
