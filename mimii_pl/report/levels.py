"""Log-mel levels of clips, for their pictures."""

from functools import lru_cache

import numpy as np
import torch

from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.features.log_mel import LogMel
from mimii_pl.report.spectrograms import MEL_BANDS, Levels

FRAMES = 300  # about


def mel_levels(wave: np.ndarray, rate: int) -> Levels:
    """Compute the log-mel levels of a waveform int16 [T]."""
    features = _features(len(wave), rate)
    level = features(torch.from_numpy(wave[None].astype(np.float32) / FULL_SCALE))[0, 0].numpy()
    edges = features.edges
    return Levels(level, (edges[:-1] + edges[1:]) / 2, len(wave), rate)


@lru_cache(maxsize=16)
def _features(samples: int, rate: int) -> LogMel:
    n_fft = min(1024, 2 * (samples // 2 - 1))
    return LogMel(sample_rate=rate, n_fft=n_fft, hop=max(1, samples // FRAMES), n_mels=MEL_BANDS, eps=1e-10)
