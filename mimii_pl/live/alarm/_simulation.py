"""Simulated months of a healthy machine, drawn from its held-out scores: how often a rule would raise a false alarm."""

import math
from collections.abc import Iterator

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtri

from mimii_pl.live.alarm._normal import NormalScores

MONTH = 30 * 86400.0  # s, of a machine that runs all the time
STREAMS = 256  # held-out sets that are drawn
FALSE_ALARMS = 20  # to see of the rate that is promised
FEWEST_WINDOWS, MOST_SIMULATED = 1 << 20, 1 << 25  # windows to simulate
SIMULATION_SEED = 0
MOST_LAGS = 20  # of the linear prediction
WARM_UP = 1000  # scores that a stream is begun with
JITTER = 1e-6  # that decides between equal scores


class Simulation:
    """Windows of a healthy machine as ranks among n held-out scores: a p-value is rank / (n + 1).

    Sieve bootstrap (Buehlmann, Bernoulli 1997): normal quantiles of the held-out scores, in the order of time, are
    predicted linearly; innovations are drawn anew, and the prediction gives them back their autocorrelation. Blocks of
    scores would repeat the few rows of high ones that the held-out set happens to have. Each stream
    has a held-out set drawn in the same way, so that a rate is the expected one over held-out sets of this size, as a
    p-value is. Windows that overlap share their sound: each score lasts for `spacing / hop` windows, which gives sums
    of scores the variance that overlap does.

    Args:
        normal: held-out normal scores; taken as independent if their order is not known.
        hop: from the start of a window to that of the next in s.
        per_month: lowest rate of false alarms that is asked for.

    Attributes:
        held_out: their number n.
        months: that are simulated.
    """

    def __init__(self, normal: NormalScores, hop: float, per_month: float) -> None:
        n = self.held_out = len(normal.scores)
        windows = FALSE_ALARMS * MONTH / hop / per_month
        self.lasts = max(1, round(normal.spacing / hop))
        self.drawn = math.ceil(min(max(windows, FEWEST_WINDOWS), MOST_SIMULATED) / STREAMS / self.lasts)  # of a stream
        self.months = STREAMS * self.drawn * self.lasts * hop / MONTH
        quantiles = ndtri((np.argsort(np.argsort(normal.scores, kind="stable"), kind="stable") + 0.5) / n)
        most = min(MOST_LAGS, n // 10) if normal.ordered else 0
        self.prediction, self.innovations = whiten(quantiles, most)

    def streams(self) -> Iterator[np.ndarray]:
        """Yield the ranks [windows] of each stream, 1 (above all held-out scores) to n + 1; the same at each call."""
        rng = np.random.default_rng(SIMULATION_SEED)
        for _ in range(STREAMS):
            held_out = np.sort(self._draw(rng, self.held_out))
            live = self._draw(rng, self.drawn)
            yield np.repeat(1 + self.held_out - np.searchsorted(held_out, live), self.lasts)

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw a series [count], stationary from its beginning."""
        total = count + (WARM_UP if len(self.prediction) else 0)
        drawn = rng.choice(self.innovations, total) + JITTER * rng.standard_normal(total)
        return lfilter([1.0], np.append(1.0, -self.prediction), drawn)[-count:]


def whiten(series: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Predict a series [n] from its last values, by Burg's method, as many as Akaike's criterion says.

    Args:
        most: largest number of values.

    Returns:
        Coefficients [lags], of the latest value first, and the innovations [n - lags]; the prediction is stable.

    >>> series = lfilter([1.0], [1.0, -0.8], np.random.default_rng(0).standard_normal(5000))
    >>> whiten(series, 1)[0].round(1).tolist()
    [0.8]
    """
    n, forward, backward = len(series), series[1:], series[:-1]
    coefficients, power = np.zeros(0), float(np.mean(series**2))
    best, lowest = coefficients, math.log(power)
    for lags in range(1, most + 1):
        reflection = 2 * float(forward @ backward) / float(forward @ forward + backward @ backward)
        coefficients = np.append(coefficients - reflection * coefficients[::-1], reflection)
        power *= 1 - reflection**2
        forward, backward = (forward - reflection * backward)[1:], (backward - reflection * forward)[:-1]
        criterion = math.log(power) + 2 * lags / n
        if criterion < lowest:
            best, lowest = coefficients, criterion
    innovations = lfilter(np.append(1.0, -best), [1.0], series)[len(best) :]
    return best, innovations - innovations.mean()
