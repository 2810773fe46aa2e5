"""Blocks of the MobileNets: convolutions with batch norm, and inverted residuals."""

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[int], nn.Module]  # channels -> activation


class InvertedResidual(nn.Module):
    """1 x 1 expansion, depthwise 3 x 3 and linear 1 x 1 projection, added to the input if the shapes are equal.

    Sandler et al., MobileNetV2, CVPR 2018. Without expansion (1) there is no first convolution.
    """

    def __init__(
        self, channels_in: int, channels_out: int, expansion: int, stride: int, *, activation: Activation
    ) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.layers = nn.Sequential(
            *([conv_block(channels_in, inner, 1, activation=activation)] if expansion > 1 else []),
            conv_block(inner, inner, 3, stride, inner, activation=activation),
            nn.Conv2d(inner, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps, [M, C, F, N] -> [M, C', F', N']."""
        return x + self.layers(x) if self.adds else self.layers(x)


def conv_block(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1, *, activation: Activation
) -> nn.Sequential:
    """Return a convolution without bias that keeps the size at stride 1, a batch norm and an activation."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), activation(channels_out))
