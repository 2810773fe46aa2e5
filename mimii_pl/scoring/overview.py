"""A spectrogram of a recording of any length, of bounded size: its columns become longer as it does."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE

MOST_COLUMNS = 2048  # at most; then two become one
FRAME = 0.064  # s of a frame, about: a power of 2 in samples
BANDS = 64  # between the lowest and half the sampling frequency, of equal ratio, each at least one bin wide
LEAST_POWER = 1e-12  # power, full scale 1, of the lowest level
MIN_FRAME = 16  # samples


class BandLevels(NamedTuple):
    """BandLevels of a recording over time.

    Attributes:
        level: [bands, columns] in dB relative to full scale; NaN where the recording cannot be used.
        hertz: [bands + 1] edges of the bands.
        seconds: length of a column.
    """

    level: np.ndarray
    hertz: np.ndarray
    seconds: float

    def loudest(self, start: float, end: float) -> tuple[float, float, float]:
        """Return the band that rises most above its median over the recording, from `start` to `end` in s.

        Returns:
            Its edges in Hz, and its rise in dB; NaN where nothing of that time can be used.
        """
        usual = _nan(np.nanmedian, self.level)
        inside = self.level[:, int(start / self.seconds) : max(int(start / self.seconds) + 1, int(end / self.seconds))]
        rise = _nan(np.nanmean, inside) - usual
        if np.isnan(rise).all():
            return np.nan, np.nan, np.nan
        band = int(np.nanargmax(rise))
        return float(self.hertz[band]), float(self.hertz[band + 1]), float(rise[band])


def _nan(function: Callable, level: np.ndarray) -> np.ndarray:
    """Apply a statistic over time that leaves NaN out; NaN for a band without values."""
    known = ~np.isnan(level).all(axis=1)
    values = np.full(len(level), np.nan)
    if known.any():
        values[known] = function(level[known], axis=1)
    return values


class Overview:
    """Sums the power of a recording by band and time, while it is read.

    Args:
        rate: sampling frequency in Hz.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.length = max(MIN_FRAME, 1 << round(np.log2(FRAME * rate)))  # samples of a frame
        bins = self.length // 2 + 1
        self.first = np.unique(np.round(np.geomspace(1, bins - 1, BANDS + 1)).astype(int))[:-1]  # bin of each band
        self.widths = np.diff([*self.first, bins])
        self.window = np.hanning(self.length).astype(np.float32)
        self.power = np.zeros((MOST_COLUMNS, len(self.first)))
        self.frames = np.zeros(MOST_COLUMNS)  # that were summed
        self.per_column, self.position = 1, 0  # frames
        self.rest = np.empty(0, np.int16)

    def add(self, wave: np.ndarray) -> None:
        """Add samples int16 [T] that follow those before."""
        wave = np.concatenate([self.rest, wave])
        count = len(wave) // self.length
        self.rest = wave[count * self.length :]
        frames = wave[: count * self.length].reshape(count, self.length) * (self.window / np.float32(FULL_SCALE))
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 * (4 / self.window.sum() ** 2)
        self._sum(np.add.reduceat(power, self.first, axis=1) / self.widths, np.ones(count))

    def skip(self, samples: int) -> None:
        """Leave out samples that cannot be used."""
        count = (len(self.rest) + samples) // self.length
        self.rest = np.zeros((len(self.rest) + samples) % self.length, np.int16)
        while count > 0:
            part = min(count, MOST_COLUMNS)
            self._sum(np.zeros((part, len(self.first))), np.zeros(part))
            count -= part

    def _sum(self, power: np.ndarray, counted: np.ndarray) -> None:
        while self.position + len(power) > MOST_COLUMNS * self.per_column:
            self.power, self.frames = (_halved(values) for values in (self.power, self.frames))
            self.per_column *= 2
        columns = (self.position + np.arange(len(power))) // self.per_column
        np.add.at(self.power, columns, power)
        np.add.at(self.frames, columns, counted)
        self.position += len(power)

    def levels(self) -> BandLevels:
        """Return the levels of all that was added; one column at least."""
        if not self.position and len(self.rest):
            self.add(np.zeros(self.length - len(self.rest), np.int16))
        columns = max(1, math.ceil(self.position / self.per_column))
        with np.errstate(invalid="ignore", divide="ignore"):
            power = self.power[:columns] / self.frames[:columns, None]
        level = 10 * np.log10(np.maximum(power, LEAST_POWER))
        hertz = np.array([*self.first, self.length // 2]) * (self.rate / self.length)
        return BandLevels(level.T.astype(np.float32), hertz, self.per_column * self.length / self.rate)


def _halved(values: np.ndarray) -> np.ndarray:
    halved = np.zeros_like(values)
    halved[: MOST_COLUMNS // 2] = values[0::2] + values[1::2]
    return halved
