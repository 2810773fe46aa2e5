"""Log-mel spectrum, as the DCASE baselines and librosa define it."""

import logging
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.features._spectral import Spectral, magnitude

log = logging.getLogger(__name__)
BANDS_AT_A_TIME = 16
MelScale = Literal["slaney", "htk"]


class LogMel(Spectral):
    """Log-mel spectrum in dB, [B, 1, n_mels, N]: `(20 / power) log10(mel(|X|^power))`, floored at `eps`.

    Full scale is 1, so typical values are -60 to 30.

    Args:
        n_mels: number of mel bands.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz; None: half the sampling frequency.
        mel_scale: `slaney` (librosa's default) or `htk` (torchaudio's).
        norm: `slaney`: bands of unit area in Hz (librosa's default); `none`: bands of unit height (torchaudio's).
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
        mel_scale: MelScale = "slaney",
        norm: Literal["slaney", "none"] = "slaney",
        power: float = 2.0,
        eps: float = 2.220446049250313e-16,
        **spectral: Any,
    ) -> None:
        super().__init__(**spectral)
        self.n_mels, self.power, self.eps = n_mels, power, eps
        self.f_min, self.f_max = f_min, self.sample_rate / 2 if f_max is None else f_max
        self.mel_scale = mel_scale
        self._require_bands(np.inf)
        edges = self.f_min, self.f_max
        bank = mel_bank(self.sample_rate, self.n_fft, n_mels, *edges, scale=mel_scale, unit_area=norm == "slaney")
        self.register_buffer("bank", torch.from_numpy(bank.T).float().contiguous(), persistent=False)

    @property
    def bins(self) -> int:
        return self.n_mels

    @property
    def edges(self) -> np.ndarray:
        edges = mel_points(self.f_min, self.f_max, 2 * self.n_mels + 3, self.mel_scale)
        return edges[1:-1:2]  # half-way between the centres of neighbouring bands

    def validate(self) -> None:
        self._require_bands(self.sample_rate / 2)
        if empty := int((self.bank == 0).all(dim=0).sum()):
            log.warning(
                "features.n_mels=%d: %d bands are narrower than the bins of features.n_fft=%d at %d Hz, and empty: "
                "raise features.n_fft (64ms, for example), or lower features.n_mels",
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


def mel_bank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    *,
    scale: MelScale = "slaney",
    unit_area: bool = True,
) -> np.ndarray:
    """Compute triangular filters, [n_mels, n_fft/2+1], of unit area in Hz (Slaney, Auditory Toolbox, 1998) or height.

    In float64: with float32 (torchaudio's `melscale_fbanks`) narrow bands are off by more than 1e-4 dB.
    """
    edges = mel_points(f_min, f_max, n_mels + 2, scale)
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    bank = np.maximum(0, np.minimum(rising, falling))
    return bank * (2 / (edges[2:] - edges[:-2]))[:, None] if unit_area else bank


def band_groups(bank: np.ndarray) -> list[tuple[slice, slice]]:
    """Divide the bands of a bank [n_mels, F] into groups, each with the bins outside of which it is 0.

    A product of groups takes a quarter of the time of one with all bins.
    """
    groups = []
    for first in range(0, len(bank), BANDS_AT_A_TIME):
        bands = slice(first, first + BANDS_AT_A_TIME)
        used = np.flatnonzero(bank[bands].any(axis=0))
        groups.append((bands, slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)))
    return groups


def mel_points(f_min: float, f_max: float, count: int, scale: MelScale) -> np.ndarray:
    """Compute frequencies in Hz that are evenly spaced on a mel scale, both ends included, [count]."""
    to_mel, to_hz = SCALES[scale]
    return to_hz(np.linspace(to_mel(f_min), to_mel(f_max), count))


# Slaney's scale: linear below 1 kHz with 3 mel per 200 Hz, above it 27 mel per factor 6.4.
_BREAK_HZ, _BREAK_MEL, _MEL_PER_HZ, _MEL_PER_LOG = 1000.0, 15.0, 3 / 200, 27 / np.log(6.4)
_HTK_HZ, _HTK_MEL = 700.0, 2595 / np.log(10)


def _hz_to_slaney(hz: float) -> float:
    return hz * _MEL_PER_HZ if hz < _BREAK_HZ else _BREAK_MEL + np.log(hz / _BREAK_HZ) * _MEL_PER_LOG


def _slaney_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BREAK_MEL, mel / _MEL_PER_HZ, _BREAK_HZ * np.exp((mel - _BREAK_MEL) / _MEL_PER_LOG))


def _hz_to_htk(hz: float) -> float:
    return _HTK_MEL * np.log1p(hz / _HTK_HZ)


def _htk_to_hz(mel: np.ndarray) -> np.ndarray:
    return _HTK_HZ * np.expm1(mel / _HTK_MEL)


SCALES = {"slaney": (_hz_to_slaney, _slaney_to_hz), "htk": (_hz_to_htk, _htk_to_hz)}
