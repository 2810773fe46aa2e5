"""Pseudo-anomalies: held-out normal clips with a synthetic fault, to compare detectors without test labels.

They show whether a detector notices *these* changes, not whether it will notice a real fault.
"""

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE, fit_length, to_int16
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.scoring.metrics import arithmetic_mean, auc

FULL_RANGE = 10_000  # Hz; at lower rates, frequencies of faults shrink with the rate: they stay below half of it


class PseudoAnomalies:
    """Clips with a synthetic fault: behaves like an array int16 [N, T] and is computed when it is sliced.

    Args:
        waves: the clips, int16 [N, T].
        fault: index into `PSEUDO_FAULTS`.
        sample_rate: in Hz.
    """

    def __init__(self, waves: np.ndarray | ClipRows, fault: int, sample_rate: int) -> None:
        self.waves, self.fault, self.sample_rate = waves, fault, sample_rate

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, part: slice) -> np.ndarray:
        rows = range(*part.indices(len(self.waves)))
        return np.stack([self._faulty(row, wave) for row, wave in zip(rows, self.waves[part], strict=True)])

    def _faulty(self, row: int, wave: np.ndarray) -> np.ndarray:
        clean, rng = wave / FULL_SCALE, np.random.default_rng([self.fault, row])
        changed = PSEUDO_FAULTS[self.fault](clean, self.sample_rate, rng)
        changed = changed * (_rms(clean) / max(_rms(changed), 1e-9))  # same level: loudness must not give it away
        return to_int16(fit_length(changed, len(wave)).astype(np.float32))


def pseudo_auc(normal: np.ndarray, faulty: np.ndarray, ids: np.ndarray) -> float:
    """Return the mean over machine IDs of the AUC of normal scores [N] against those with faults [faults, N].

    >>> pseudo_auc(np.array([0.0, 1.0]), np.array([[2.0, 0.5]]), ids=np.array([0, 0]))
    0.75
    """
    aucs = []
    for id_ in np.unique(ids):
        own = ids == id_
        scores = np.concatenate([normal[own], faulty[:, own].ravel()])
        aucs.append(auc(np.repeat([0, 1], [own.sum(), own.sum() * len(faulty)]), scores))
    return arithmetic_mean(aucs)


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))


def _speed(wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Change the speed by 4 to 8 %, up or down."""
    factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.04, 0.08)
    return np.interp(np.arange(0, len(wave) - 1, factor), np.arange(len(wave)), wave)


def _tone(wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add a whistle between 0.5 and 5 kHz, 10 dB below the level of the clip."""
    phase = 2 * np.pi * _fitting(rng.uniform(500, 5000), sample_rate) * np.arange(len(wave)) / sample_rate
    return wave + np.sqrt(2 * 0.1) * _rms(wave) * np.sin(phase + rng.uniform(0, 2 * np.pi))


def _knocks(wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Add knocks of 5 ms, 3 to 8 per second."""
    clicks = np.zeros(len(wave))
    period = sample_rate / rng.uniform(3, 8)
    clicks[np.arange(rng.uniform(0, period), len(wave), period).astype(int)] = 1
    burst = rng.standard_normal(int(0.02 * sample_rate)) * np.exp(
        -np.arange(int(0.02 * sample_rate)) / (0.005 * sample_rate)
    )
    return wave + 3 * _rms(wave) * np.convolve(clicks, burst)[: len(wave)]


def _throb(wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Modulate the amplitude by half at 2 to 12 Hz."""
    return wave * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 12) * np.arange(len(wave)) / sample_rate))


def _clogged(wave: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Attenuate high frequencies, above 1.5 to 4 kHz."""
    from scipy.signal import butter, sosfilt

    corner = _fitting(rng.uniform(1500, 4000), sample_rate)
    return sosfilt(butter(1, corner, fs=sample_rate, output="sos"), wave)


def _fitting(hertz: float, sample_rate: int) -> float:
    """Return a frequency of up to 5 kHz, in proportion where half the sampling frequency is less."""
    return hertz * min(1, sample_rate / FULL_RANGE)


PSEUDO_FAULTS = (_speed, _tone, _knocks, _throb, _clogged)
