"""Complex spectrum: real and imaginary parts as two channels."""

from typing import Any

import torch
from torch import Tensor

from mimii_pl.features._spectral import Spectral


class ComplexSTFT(Spectral):
    """Complex STFT as [B, 2, n_fft/2+1, N]: channel 0 the real part, channel 1 the imaginary part.

    Args:
        phase: False: the magnitude in place of the real part and 0 in place of the imaginary one, to see what the phase
            adds.
        **spectral: see `Spectral`.
    """

    channels = 2

    def __init__(self, *, phase: bool = True, **spectral: Any) -> None:
        super().__init__(**spectral)
        self.phase = phase

    def represent(self, spectrum: Tensor) -> Tensor:
        if not self.phase:
            magnitude = spectrum.abs()
            return torch.stack([magnitude, torch.zeros_like(magnitude)], dim=1)
        return torch.stack([spectrum.real, spectrum.imag], dim=1)  # [B, F, N] complex -> [B, 2, F, N]
