"""MobileNetV2: the classifier of the DCASE 2021 and 2022 baselines."""

from torch import Tensor, nn

from mimii_pl.model._image_classifier import ImageClassifier

# expansion, channels, blocks, stride of the first block: table 2 of the paper
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class MobileNetV2(ImageClassifier):
    """MobileNetV2 (Sandler et al., CVPR 2018) on log-mel windows, as in the DCASE 2021 task 2 baseline (there with a
    width of .5, and the sections of a machine type for classes).

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        width: factor on the channels.
        dropout: share of the embedding left out in training.
        **window: see `ImageClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, width: float = 0.5, dropout: float = 0.2, **window
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        channels, last = _scaled(32, width), _scaled(1280, max(1.0, width))
        layers: list[nn.Module] = [_conv(1, channels, 3, stride=2)]
        for expansion, wanted, blocks, stride in STAGES:
            for number in range(blocks):
                after = _scaled(wanted, width)
                layers.append(InvertedResidual(channels, after, expansion, stride if number == 0 else 1))
                channels = after
        self.encoder = nn.Sequential(
            *layers, _conv(channels, last, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(last, n_classes)


class InvertedResidual(nn.Module):
    """Expansion by 1 x 1, depthwise 3 x 3, linear projection by 1 x 1; added to the input where the shape allows."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.layers = nn.Sequential(
            *([_conv(channels_in, inner, 1)] if expansion > 1 else []),
            _conv(inner, inner, 3, stride=stride, groups=inner),
            nn.Conv2d(inner, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out),
        )  # fmt: skip
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """[M, C, F, N] -> [M, C', F', N']."""
        return x + self.layers(x) if self.adds else self.layers(x)


def _conv(channels_in: int, channels_out: int, kernel: int, **options: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU6())


def _scaled(channels: int, width: float) -> int:
    """The multiple of 8 next to `width` times the channels, never less than nine tenths of it."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded
