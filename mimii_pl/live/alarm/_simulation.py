"""Simulated months of a healthy machine, drawn from its held-out scores: how often a rule would raise a false alarm.

A circular block bootstrap (Politis and Romano, 1992) keeps the autocorrelation of scores within blocks. The held-out
set is drawn anew as well, so that a rate is the expected one over held-out sets of this size, as a p-value is.
"""

import math
from collections.abc import Iterator

import numpy as np

from mimii_pl.live.alarm._normal import NormalScores

MONTH = 30 * 86400.0  # s, of a machine that runs all the time
STREAMS = 256  # held-out sets that are drawn
FALSE_ALARMS = 20  # to see of the rate that is promised
FEWEST_WINDOWS, MOST_SIMULATED = 1 << 20, 1 << 25  # windows to simulate
SIMULATION_SEED = 0


class Simulation:
    """Windows of a healthy machine as ranks among n held-out scores: a p-value is rank / (n + 1).

    Windows that overlap share their sound: each score that is drawn lasts for `spacing / hop` windows, which gives
    sums of scores the variance that overlap does.

    Args:
        normal: held-out normal scores.
        hop: from the start of a window to that of the next in s.
        per_month: lowest rate of false alarms that is asked for.

    Attributes:
        held_out: their number n.
        months: that are simulated.
        block: held-out scores that are drawn together.
    """

    def __init__(self, normal: NormalScores, hop: float, per_month: float) -> None:
        self.held_out = len(normal.scores)
        windows = FALSE_ALARMS * MONTH / hop / max(per_month, 1e-6)
        self.lasts = max(1, round(normal.spacing / hop))
        self.drawn = math.ceil(min(max(windows, FEWEST_WINDOWS), MOST_SIMULATED) / STREAMS / self.lasts)  # of a stream
        self.months = STREAMS * self.drawn * self.lasts * hop / MONTH
        self.places = np.argsort(np.argsort(-normal.scores, kind="stable"), kind="stable")  # 0: the highest score
        self.block = block_length(normal.scores) if normal.ordered else 1

    def streams(self) -> Iterator[np.ndarray]:
        """Yield the ranks [windows] of each stream, 1 (above all held-out scores) to n + 1; the same at each call."""
        rng, n = np.random.default_rng(SIMULATION_SEED), self.held_out
        for _ in range(STREAMS):
            copies = np.bincount(self._draw(rng, n), minlength=n)  # of each score in this held-out set
            above = np.cumsum(copies) - copies
            drawn = self._draw(rng, self.drawn)
            ties = (rng.random(self.drawn) * (copies[drawn] + 1)).astype(int)  # a new score is seldom one of the old
            yield np.repeat(1 + above[drawn] + ties, self.lasts)

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        starts = rng.integers(self.held_out, size=math.ceil(count / self.block))
        rows = (starts[:, None] + np.arange(self.block)).ravel()[:count] % self.held_out
        return self.places[rows]


def block_length(scores: np.ndarray) -> int:
    """Choose how many neighbours of a series [n] a block has: four times the first lag without correlation.

    >>> block_length(np.random.default_rng(0).standard_normal(1000))
    4
    """
    n = len(scores)
    ranks = np.argsort(np.argsort(scores)) - (n - 1) / 2
    power = np.abs(np.fft.rfft(ranks, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[:n] / max(1.0, float(ranks @ ranks))
    small = np.flatnonzero(correlation < 2 / math.sqrt(n))
    lag = int(small[0]) if len(small) else n
    return max(1, min(4 * lag, n // 4))
