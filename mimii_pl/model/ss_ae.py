"""Spectral shape auto-encoder: frames share their weights, encoder and decoder share a basis."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._encoders import SpectralShape
from mimii_pl.model._window_ae import WindowAE


class SSAE(SpectralShape, WindowAE):
    """Spectral shape auto-encoder of the MIMII framework, which shares weights to have few parameters.

    Use it if the model must be small: it has half the parameters of `simple_ae`. The same LayerNorm, linear layer and
    GELU are applied to each frame; the window is projected on a learned basis of unit vectors, squeezed, reconstructed
    with the same basis, and one shared linear layer restores each frame. (The source's code reads its mel-major windows
    as frames, which scrambles the slices; here a slice is a frame.)

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: values per slice (frame).
        basis: number of basis vectors.
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
        **window: Any,
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
