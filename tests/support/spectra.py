"""Mel spectra by librosa: what ours are compared with."""

from typing import Any

import librosa
import numpy as np
from librosa.core.spectrum import stft


def librosa_mel(
    wave: np.ndarray, rate: int, *, n_fft: int, hop: int, power: float = 2.0, pad_mode: str = "reflect", **bank: Any
) -> np.ndarray:
    """Compute `librosa.feature.melspectrogram`, [F, N], without importing all of `librosa.feature`.

    That compiles functions which nobody needs here, for a dozen seconds in a new installation.

    Args:
        bank: options of `librosa.filters.mel`.
    """
    spectrum = np.abs(stft(wave, n_fft=n_fft, hop_length=hop, pad_mode=pad_mode)) ** power
    return librosa.filters.mel(sr=rate, n_fft=n_fft, **bank) @ spectrum
