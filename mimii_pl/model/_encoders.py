"""Encoders that an auto-encoder and a classifier have in common: windows [M, frames * F] to embeddings [M, D]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpectralShape:
    """The encoder of the MIMII framework's spectral shape models, as part of a network: few parameters by sharing.

    Each frame passes the same LayerNorm, linear layer and GELU; the window is projected on a learned basis of unit
    vectors and squeezed.
    """

    def build_shape(self, frames: int, bins: int, hidden: int, basis: int, bottleneck: int) -> None:
        """Make its layers: `hidden` numbers per frame, `basis` vectors, `bottleneck` numbers out."""
        self.slice = nn.Sequential(nn.LayerNorm(bins), nn.Linear(bins, hidden), nn.GELU())
        self.basis = nn.Parameter(torch.randn(basis, frames * hidden))
        self.squeeze = nn.Sequential(nn.LayerNorm(basis), nn.Linear(basis, bottleneck), nn.GELU())

    def shape(self, x: Tensor) -> Tensor:
        """[M, frames * F] -> [M, bottleneck]."""
        slices = self.slice(x.unflatten(1, (self.frames, self.bins))).flatten(1)
        return self.squeeze(slices @ F.normalize(self.basis, dim=1).T)
