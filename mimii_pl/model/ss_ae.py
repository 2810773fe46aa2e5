"""Spectral shape auto-encoder: slices share their weights, and one basis serves both ways."""

import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._encoders import SpectralShape
from mimii_pl.model._window_ae import WindowAE


class SSAE(SpectralShape, WindowAE):
    """Spectral shape auto-encoder of the MIMII framework: few parameters by sharing.

    Each frame passes the same LayerNorm, linear layer and GELU; the window is projected on a learned basis of unit
    vectors, squeezed, rebuilt with the same basis, and brought back frame by frame by one shared linear layer.
    (The source's code reads its mel-major windows as frames, which scrambles the slices; here a slice is a frame.)

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        hidden: numbers per slice.
        basis: vectors of the basis.
        bottleneck: units of the middle layer.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: int = 64,
        basis: int = 32,
        bottleneck: int = 16,
        **window,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        self.build_shape(self.frames, self.bins, hidden, basis, bottleneck)
        self.expand = nn.Linear(bottleneck, basis)
        self.back = nn.Linear(hidden, self.bins)

    def encoder(self, x: Tensor) -> Tensor:
        return self.shape(x)

    def decoder(self, z: Tensor) -> Tensor:
        slices = self.expand(z) @ F.normalize(self.basis, dim=1)
        return self.back(slices.unflatten(1, (self.frames, -1))).flatten(1)
