"""Log-mel spectrum, as the DCASE baselines and librosa define it."""

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.features._spectral import Spectral, magnitude

log = logging.getLogger(__name__)


class LogMel(Spectral):
    """Log-mel spectrum in dB, [B, 1, n_mels, N]: `(20 / power) log10(mel(|X|^power))`, floored at `eps`.

    Mel scale and area normalization are Slaney's (librosa's default). Full scale is 1, so typical values are -60 to 30.

    Args:
        n_mels: number of mel bands.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz; None: half the sampling frequency.
        power: exponent of the magnitude: 1 amplitude, 2 power.
        eps: floor under the logarithm.
        **spectral: sample_rate, n_fft, hop, window, normalize, engine of `Spectral`.
    """

    bank: Tensor  # [n_fft/2+1, n_mels]

    def __init__(
        self,
        *,
        n_mels: int = 128,
        f_min: float = 0.0,
        f_max: float | None = None,
        power: float = 2.0,
        eps: float = 2.220446049250313e-16,
        **spectral: Any,
    ) -> None:
        super().__init__(**spectral)
        self.n_mels, self.power, self.eps = n_mels, power, eps
        self.f_min, self.f_max = f_min, self.sample_rate / 2 if f_max is None else f_max
        self._require_bands(np.inf)
        bank = slaney_bank(self.sample_rate, self.n_fft, n_mels, self.f_min, self.f_max)
        self.register_buffer("bank", torch.from_numpy(bank.T).float().contiguous(), persistent=False)

    @property
    def bins(self) -> int:
        return self.n_mels

    @property
    def edges(self) -> np.ndarray:
        middle = np.linspace(_hz_to_mel(self.f_min), _hz_to_mel(self.f_max), 2 * self.n_mels + 3)[1:-1:2]
        return _mel_to_hz(middle)  # half-way between the centres of neighbouring bands

    def validate(self) -> None:
        self._require_bands(self.sample_rate / 2)
        if empty := int((self.bank == 0).all(dim=0).sum()):
            log.warning(
                "features.n_mels=%d: %d bands are narrower than the bins of features.n_fft=%d at %d Hz, and empty: "
                "raise features.n_fft, or lower features.n_mels",
                self.n_mels,
                empty,
                self.n_fft,
                self.sample_rate,
            )

    def _require_bands(self, highest: float) -> None:
        if not 0 <= self.f_min < self.f_max <= highest:
            raise InputError(
                f"features.f_min={self.f_min:g} features.f_max={self.f_max:g}: should rise, and lie between 0 and "
                f"{self.sample_rate / 2:g} Hz, half of dataset.sample_rate"
            )

    def represent(self, spectrum: Tensor) -> Tensor:
        frames = magnitude(spectrum, self.power).transpose(1, 2)  # [B, N, n_fft/2+1], the memory order of the FFT
        mel = torch.matmul(frames, self.bank).transpose(1, 2)  # [B, n_mels, N]
        return mel.clamp(min=self.eps).log10().mul_(20 / self.power)[:, None]


def slaney_bank(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> np.ndarray:
    """Compute triangular filters of unit area in Hz, [n_mels, n_fft/2+1] (Slaney, Auditory Toolbox, 1998).

    In float64: with float32 (torchaudio's `melscale_fbanks`) narrow bands are off by more than 1e-4 dB.
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(f_min), _hz_to_mel(f_max), n_mels + 2))  # [n_mels + 2]
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


# Slaney's scale: linear below 1 kHz with 3 mel per 200 Hz, above it 27 mel per factor 6.4.
_BREAK_HZ, _BREAK_MEL, _MEL_PER_HZ, _MEL_PER_LOG = 1000.0, 15.0, 3 / 200, 27 / np.log(6.4)


def _hz_to_mel(hz: float) -> float:
    return hz * _MEL_PER_HZ if hz < _BREAK_HZ else _BREAK_MEL + np.log(hz / _BREAK_HZ) * _MEL_PER_LOG


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BREAK_MEL, mel / _MEL_PER_HZ, _BREAK_HZ * np.exp((mel - _BREAK_MEL) / _MEL_PER_LOG))
