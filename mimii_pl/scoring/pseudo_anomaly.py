"""Pseudo-anomalies: normal clips with a synthetic fault of graded severity, to compare detectors without test labels.

They show from which severity on a detector notices *these* changes, not whether it will notice a real fault.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE, to_int16
from mimii_pl.dataset._cache import ClipRows

FULL_RANGE = 10_000  # Hz; at lower rates, frequencies of faults shrink with the rate: they stay below half of it
Change = Callable[[np.ndarray, np.ndarray, int, list[np.random.Generator]], np.ndarray]


class PseudoFault(NamedTuple):
    """A fault with its severities.

    Attributes:
        name: in files.
        severities: of decreasing strength, in `unit`.
        unit: `dB` below the level of the machine, or `%`.
        words: of what is noticed, with a place for a severity.
        change: (clips float32 [B, T] in full scale 1, severities [B], sample rate in Hz, generators [B]) -> clips with
            the fault [B, T], of any level.
    """

    name: str
    severities: tuple[float, ...]
    unit: str
    words: str
    change: Change


class PseudoAnomalies:
    """Clips with a synthetic fault: behaves like an array int16 [N, T] and is computed when it is sliced.

    Each has the level of the clip that it is made from, and depends on that clip, its row, fault and severity only.

    Args:
        waves: the clips, int16 [M, T].
        fault: index into `PSEUDO_FAULTS`.
        grades: indices into the severities of the fault [N].
        sample_rate: in Hz.
        rows: the clip that each is made from [N]; None: all in order.
    """

    def __init__(
        self,
        waves: np.ndarray | ClipRows,
        fault: int,
        grades: np.ndarray,
        sample_rate: int,
        rows: np.ndarray | None = None,
    ) -> None:
        self.waves, self.fault, self.grades, self.sample_rate = waves, fault, np.asarray(grades), sample_rate
        self.rows = np.arange(len(waves)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        rows = self.rows[part]
        clean = self.waves[rows].astype(np.float32) / np.float32(FULL_SCALE)
        grades, fault = self.grades[part], PSEUDO_FAULTS[self.fault]
        rngs = [np.random.default_rng([self.fault, grade, row]) for grade, row in zip(grades, rows, strict=True)]
        changed = fault.change(clean, np.array(fault.severities)[grades], self.sample_rate, rngs)
        changed *= _rms(clean) / np.maximum(_rms(changed), 1e-9)  # same level: loudness must not give it away
        return to_int16(changed)


def _rms(waves: np.ndarray) -> np.ndarray:
    """Compute the root mean square of each clip, [B, 1]."""
    squares = np.array([wave @ wave for wave in waves], np.float32)  # to 2e-7, and quicker than any sum in float64
    return np.sqrt(squares / waves.shape[1])[:, None]


def _amplitude(decibels: np.ndarray) -> np.ndarray:
    """Convert dB below a level to a share of its amplitude, [B, 1]."""
    return (10 ** (-decibels / 20)).astype(np.float32)[:, None]


def _mixed(clean: np.ndarray, added: np.ndarray, decibels: np.ndarray) -> np.ndarray:
    """Add sound so many dB [B] below the level of the clips [B, T]."""
    return clean + added * (_amplitude(decibels) * _rms(clean) / np.maximum(_rms(added), 1e-9))


def _speed(clean: np.ndarray, percent: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Play faster or slower, band-limited; what a faster clip lacks at its end is played backwards from there."""
    samples = clean.shape[1]
    changed = np.empty_like(clean)
    for row, (wave, share, rng) in enumerate(zip(clean, percent / 100, rngs, strict=True)):
        before, after = _lengths(samples, float(rng.choice([-1, 1]) * share))
        longer = np.pad(wave, (0, before - samples), mode="symmetric")
        played = np.fft.irfft(np.fft.rfft(longer), after)[:samples]
        changed[row] = np.pad(played, (0, samples - len(played)), mode="symmetric")
    return changed


@cache
def _lengths(samples: int, share: float) -> tuple[int, int]:
    """Return the lengths of a clip before and after a change of speed, whose Fourier transforms are quick.

    The clip is lengthened by at most 6 %, and the change is met to 3 % of itself; where that is impossible, as with
    very short clips, the lengths are exact.
    """
    quick = _quick_lengths(int(1.3 * samples))
    before = quick[(samples <= quick) & (quick <= 1.06 * samples)]
    at = np.searchsorted(quick, before / (1 + share)).clip(1, len(quick) - 1)
    pairs = np.stack([np.tile(before, 2), np.concatenate([quick[at - 1], quick[at]])])
    error = np.abs(pairs[0] / pairs[1] - 1 - share)
    if not len(before) or error.min() > 0.03 * abs(share):
        return samples, round(samples / (1 + share))
    return int(pairs[0, error.argmin()]), int(pairs[1, error.argmin()])


def _quick_lengths(most: int) -> np.ndarray:
    """Return all numbers without prime factors above 13, in order."""
    numbers = np.ones(1, int)
    for prime in (2, 3, 5, 7, 11, 13):
        powers = prime ** np.arange(math.log(most, prime) + 1, dtype=int)
        numbers = np.multiply.outer(numbers, powers).ravel()
        numbers = numbers[numbers <= most]
    return np.sort(numbers)


def _whistle(clean: np.ndarray, decibels: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Add a tone between 0.5 and 5 kHz."""
    tones = [_sine(_fitting(rng.uniform(500, 5000), sample_rate), clean.shape[1], sample_rate, rng) for rng in rngs]
    return _mixed(clean, np.stack(tones), decibels)


def _hiss(clean: np.ndarray, decibels: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Add noise in a band a third of an octave wide between 0.5 and 5 kHz."""
    hertz = np.fft.rfftfreq(clean.shape[1], 1 / sample_rate)
    spectrum = np.zeros((len(clean), len(hertz)), np.complex64)
    for row, rng in enumerate(rngs):
        low = _fitting(rng.uniform(500, 4000), sample_rate)
        band = slice(*np.searchsorted(hertz, (low, low * 2 ** (1 / 3))))
        spectrum.real[row, band], spectrum.imag[row, band] = rng.standard_normal((2, band.stop - band.start))
    return _mixed(clean, np.fft.irfft(spectrum, clean.shape[1]), decibels)


def _knocks(clean: np.ndarray, decibels: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Add knocks that decay in 5 ms, 3 to 8 per second."""
    length = max(1, round(0.02 * sample_rate))
    decay = np.exp(-np.arange(length) / (0.005 * sample_rate))
    added = np.zeros((len(clean), clean.shape[1] + length), np.float32)
    for row, rng in enumerate(rngs):
        period = sample_rate / rng.uniform(3, 8)
        knock = rng.standard_normal(length) * decay
        for at in np.arange(rng.uniform(0, min(period, clean.shape[1])), clean.shape[1], period).astype(int):
            added[row, at : at + length] += knock
    return _mixed(clean, added[:, : clean.shape[1]], decibels)


def _throb(clean: np.ndarray, percent: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Modulate the amplitude at 2 to 12 Hz; the severity is the depth."""
    waves = np.stack([_sine(rng.uniform(2, 12), clean.shape[1], sample_rate, rng) for rng in rngs])
    return clean * (1 + (percent[:, None] / 100).astype(np.float32) * waves)


def _muffle(clean: np.ndarray, decibels: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Attenuate high frequencies, gently above 1.5 to 4 kHz; the severity is the attenuation far above."""
    corner = np.array([_fitting(rng.uniform(1500, 4000), sample_rate) for rng in rngs])[:, None]
    ratio = (np.fft.rfftfreq(clean.shape[1], 1 / sample_rate) / corner).astype(np.float32)
    gain = np.sqrt((1 + np.square(_amplitude(decibels) * ratio)) / (1 + np.square(ratio)))
    return np.fft.irfft(np.fft.rfft(clean) * gain, clean.shape[1])


def _gaps(clean: np.ndarray, percent: np.ndarray, sample_rate: int, rngs: list[np.random.Generator]) -> np.ndarray:
    """Attenuate the sound by 12 dB for moments of about 0.1 s, faded; the severity is their share of the time."""
    samples = clean.shape[1]
    gain = np.ones_like(clean)
    for row, (share, rng) in enumerate(zip(percent / 100, rngs, strict=True)):
        count = max(1, round(share * samples / (0.1 * sample_rate)))
        length = max(1, round(share * samples / count))
        hole = 1 - 1.5 * np.hanning(length + 2)[1:-1].clip(max=0.5)
        for at in rng.integers(0, samples - length + 1, count):
            own = gain[row, at : at + length]
            np.minimum(own, hole, out=own)
    return clean * gain


def _sine(hertz: float, samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Make a sine of amplitude 1 and random phase, float32 [T]."""
    turns = np.arange(samples) * (hertz / sample_rate) + rng.uniform()
    turns -= np.floor(turns)  # float32 has too few digits for the phase at the end of a long clip
    return np.sin(turns.astype(np.float32) * np.float32(2 * np.pi))


def _fitting(hertz: float, sample_rate: int) -> float:
    """Return a frequency of up to 5 kHz, in proportion where half the sampling frequency is less."""
    return hertz * min(1, sample_rate / FULL_RANGE)


PSEUDO_FAULTS = (
    PseudoFault("speed", (8, 3.3, 1.4, 0.58, 0.24, 0.1), "%", "a speed change of {}", _speed),
    PseudoFault("whistle", (10, 18, 26, 34, 42, 50), "dB", "a whistle {} below the machine", _whistle),
    PseudoFault("hiss", (0, 8, 16, 24, 32, 40), "dB", "hiss {} below the machine", _hiss),
    PseudoFault("knocks", (10, 18, 26, 34, 42, 50), "dB", "knocks {} below the machine", _knocks),
    PseudoFault("throb", (50, 28, 16, 9, 5, 2.8), "%", "a throb of {}", _throb),
    PseudoFault("muffling", (12, 6, 3, 1.5, 0.75, 0.38), "dB", "muffling by {}", _muffle),
    PseudoFault("gaps", (32, 16, 8, 4, 2, 1), "%", "strokes missing {} of the time", _gaps),
)
