"""Log-magnitude spectrum, linear in frequency."""

from typing import Any

from torch import Tensor

from mimii_pl.features._spectral import Spectral, magnitude


class STFT(Spectral):
    """Log spectrum in dB, [B, 1, n_fft/2+1, N]: `(20 / power) log10(|X|^power)`, floored at `eps`.

    Args:
        power: exponent of the magnitude before the logarithm: 1 amplitude, 2 power; decides where `eps` floors.
        eps: floor under the logarithm, in units of |X|^power.
        **spectral: sample_rate, n_fft, hop, window, normalize, engine of `Spectral`.
    """

    def __init__(self, *, power: float = 2.0, eps: float = 1e-12, **spectral: Any) -> None:
        super().__init__(**spectral)
        self.power, self.eps = power, eps

    def represent(self, spectrum: Tensor) -> Tensor:
        level = magnitude(spectrum, self.power).clamp(min=self.eps).log10().mul_(20 / self.power)
        return level[:, None]  # [B, F, N] -> [B, 1, F, N]
