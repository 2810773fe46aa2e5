"""Encoders shared by an auto-encoder and a classifier: windows [M, frames * F] to embeddings [M, D]."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError


class SpectralShape:
    """Mixin with the encoder of the MIMII framework's spectral shape models, which shares weights to stay small.

    The same LayerNorm, linear layer and GELU are applied to each frame; the window is projected on a learned basis of
    unit vectors and squeezed.
    """

    frames: int
    bins: int

    def build_shape(self, frames: int, bins: int, hidden: int, basis: int, bottleneck: int) -> None:
        """Build the layers: `hidden` values per frame, `basis` vectors, `bottleneck` values out."""
        self.slice = nn.Sequential(nn.LayerNorm(bins), nn.Linear(bins, hidden), nn.GELU())
        self.basis = nn.Parameter(torch.randn(basis, frames * hidden))
        self.squeeze = nn.Sequential(nn.LayerNorm(basis), nn.Linear(basis, bottleneck), nn.GELU())

    def shape(self, x: Tensor) -> Tensor:
        """Encode windows, [M, frames * F] -> [M, bottleneck]."""
        slices = self.slice(x.unflatten(1, (self.frames, self.bins))).flatten(1)
        return self.squeeze(slices @ F.normalize(self.basis, dim=1).T)


def dense(*widths: int, batch_norm: bool = False, dropout: float = 0.0) -> list[nn.Module]:
    """List dense layers, each followed by ReLU; batch norm has the eps and momentum of Keras, as the DCASE baseline."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out)]
        layers += [nn.BatchNorm1d(width_out, eps=1e-3, momentum=0.01)] if batch_norm else []
        layers += [nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers


class LSTMEncoder(nn.Module):
    """LSTM that reads a window frame by frame; its last hidden state is the embedding."""

    def __init__(self, frames: int, bins: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.frames, self.lstm = frames, nn.LSTM(bins, hidden, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Encode windows, [M, frames * F] -> last hidden state [M, hidden]."""
        return self.lstm(x.unflatten(1, (self.frames, -1)))[0][:, -1]


def attention_encoder(frames: int, bins: int, hidden: int, heads: int, squeeze: int, bottleneck: int) -> nn.Sequential:
    """Return self-attention over frames as tokens of `hidden` values, followed by dense layers."""
    return nn.Sequential(
        nn.Unflatten(1, (frames, bins)),
        nn.Linear(bins, hidden),
        FrameAttention(frames, hidden, heads),
        nn.Flatten(),
        *dense(frames * hidden, squeeze),
        nn.Linear(squeeze, bottleneck),
    )


def require_multiple(hidden: int, heads: int) -> None:
    """Raise InputError if tokens of `hidden` values cannot be shared among `heads`."""
    if hidden % heads:
        raise InputError(f"model.hidden={hidden} should be a multiple of model.heads={heads}")


class FrameAttention(nn.Module):
    """Self-attention with a residual connection and layer norm, [M, frames, hidden] -> same shape."""

    def __init__(self, frames: int, hidden: int, heads: int) -> None:
        super().__init__()
        require_multiple(hidden, heads)
        self.position = nn.Parameter(0.02 * torch.randn(frames, hidden))
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position
        return self.norm(x + self.attention(x, x, x, need_weights=False)[0])


class ResidualBlock(nn.Module):
    """x + two dense layers of relu(norm(x)), [M, hidden] -> [M, hidden] (He et al., CVPR 2016)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))
