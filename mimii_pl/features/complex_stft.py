"""Complex spectrum: real and imaginary parts as two channels."""

import torch
from torch import Tensor

from mimii_pl.features._spectral import Spectral


class ComplexSTFT(Spectral):
    """Complex STFT, phase included, as [B, 2, n_fft/2+1, N]: channel 0 the real part, channel 1 the imaginary part."""

    channels = 2

    def represent(self, spectrum: Tensor) -> Tensor:
        return torch.stack([spectrum.real, spectrum.imag], dim=1)  # [B, F, N] complex -> [B, 2, F, N]
