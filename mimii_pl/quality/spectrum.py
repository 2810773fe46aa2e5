"""Measures of the mean spectrum of a recording: bands, the edge where its energy ends, lines of mains hum."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

PER_OCTAVE = 4
EDGES = 20 * 2 ** (np.arange(54) / PER_OCTAVE)  # Hz, of the bands of all recordings, 20 Hz to 195 kHz
CLIFF_BANDS = 64  # equal bands up to half the sampling frequency, in which the edge is looked for
BELOW_CLIFF = 3  # of them, below the edge, that the spectrum above is compared with
EMPTY = 1e-20  # power of a band, full scale 1
MAINS = (50, 60)  # Hz
HUM_HARMONICS = 6  # of mains hum that are looked for
HUM_LINES = 3  # of them that make hum
LINE_RISE = 15  # dB of a line above the spectrum around it
LINE_WIDTH = 1.0  # Hz around a line
AROUND = 12.0  # Hz on either side that a line is compared with


def window_length(rate: int) -> int:
    """Return the samples of a window: about one second, a power of 2, so that lines of 50 and 60 Hz stand apart."""
    return int(2 ** round(np.log2(rate)))


def band_powers(power: np.ndarray, rate: int) -> np.ndarray:
    """Return the mean power in the bands between `EDGES`, in dB; NaN for those that the recording does not have.

    Args:
        power: [F] mean power spectrum, from 0 to half the sampling frequency.
        rate: sampling frequency in Hz.
    """
    hertz = np.linspace(0, rate / 2, len(power))
    places = np.searchsorted(hertz, EDGES)
    sums = np.concatenate([[0], np.cumsum(power)])
    counts = np.diff(places)
    inside = (EDGES[1:] <= rate / 2) & (counts > 0)
    means = np.diff(sums[places]) / np.maximum(counts, 1)
    return np.where(inside, 10 * np.log10(np.maximum(means, EMPTY)), np.nan).astype(np.float32)


def band_edge(power: np.ndarray, rate: int, cliff: float) -> float:
    """Return the frequency in Hz at which the spectrum falls off a cliff and stays down; half the rate if it does not.

    Machines and microphones roll off gradually; a filter of a codec or of upsampling is a cliff.

    Args:
        power: [F] mean power spectrum.
        cliff: dB that the spectrum falls from just below the edge to its highest band above it.
    """
    if len(power) < 4 * CLIFF_BANDS:
        return rate / 2
    width, longer = divmod(len(power), CLIFF_BANDS)  # so many bands are one bin wider than the rest
    wide, narrow = np.split(power, [longer * (width + 1)])
    bands = np.concatenate(
        [np.median(wide.reshape(-1, width + 1), axis=1), np.median(narrow.reshape(-1, width), axis=1)]
    )
    level = 10 * np.log10(np.maximum(bands, EMPTY))
    below = np.median(sliding_window_view(level, BELOW_CLIFF), axis=1)[: -BELOW_CLIFF + 1]
    highest_above = np.maximum.accumulate(level[::-1])[::-1]
    drops = below[: CLIFF_BANDS - 1 - BELOW_CLIFF] - highest_above[BELOW_CLIFF + 1 :]
    place = int(np.argmax(drops))
    return float((place + BELOW_CLIFF + 1) / CLIFF_BANDS * rate / 2) if drops[place] >= cliff else rate / 2


def hum(power: np.ndarray, rate: int) -> tuple[int, float]:
    """Return the mains frequency in Hz whose multiples are lines of the spectrum, and their share of its power.

    (0, 0) without hum: fewer than `HUM_LINES` of the first `HUM_HARMONICS` multiples are lines.
    """
    step = rate / 2 / max(1, len(power) - 1)  # Hz per bin
    total = float(power[1:].sum())
    if total <= 0 or step > 1.5 * LINE_WIDTH:
        return 0, 0.0
    best = (0, 0.0)
    for mains in MAINS:
        lines = [_line(power, step, mains * number) for number in range(1, HUM_HARMONICS + 1)]
        found = [share for share in lines if share]
        if len(found) >= HUM_LINES and (share := sum(found) / total) > best[1]:
            best = mains, float(share)
    return best


def _line(power: np.ndarray, step: float, hertz: float) -> float:
    """Return the power of a line at a frequency; 0 if there is none."""
    if hertz + AROUND > step * (len(power) - 1):
        return 0.0
    inner = slice(round((hertz - LINE_WIDTH) / step), round((hertz + LINE_WIDTH) / step) + 1)
    outer = slice(round((hertz - AROUND) / step), round((hertz + AROUND) / step) + 1)
    peak = outer.start + int(power[outer].argmax())
    around = float(np.median(power[outer]))
    is_line = inner.start <= peak < inner.stop and power[peak] > around * 10 ** (LINE_RISE / 10)
    return float(power[inner].sum()) if is_line else 0.0
