"""False alarms to expect of a threshold, as far as a finite number of held-out normal scores can tell."""

from typing import NamedTuple

import numpy as np

DAY = 86400  # s
CONFIDENCE = 0.95  # of intervals


def p_values(normal: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute finite-sample p-values [N] of scores [N] among M held-out normal scores, in ascending order.

    `(1 + number of normal scores >= score) / (M + 1)`: of new normal clips, exchangeable with the held-out ones, at
    most a share p has a p-value of p or less, whatever the distribution (Vovk et al., Algorithmic Learning in a Random
    World, 2005). The smallest one is 1 / (M + 1).

    >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])).tolist()
    [1.0, 0.75, 0.25]
    """
    reached = len(normal) - np.searchsorted(normal, scores, side="left")
    return (1 + reached) / (len(normal) + 1)


class FalseAlarms(NamedTuple):
    """Held-out normal scores above a threshold, and what they tell about new normal clips.

    Attributes:
        above: number of held-out normal scores above the threshold.
        held_out: number of held-out normal scores, at least 1.
    """

    above: int
    held_out: int

    @property
    def rate(self) -> float:
        """Expected share of new normal clips above the threshold, at most: the p-value of the lowest score above it."""
        return (self.above + 1) / (self.held_out + 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Exact interval of that share (Clopper and Pearson, Biometrika 1934), with 95 % confidence.

        It holds also for a threshold that lies between two of these scores and was chosen by their ranks.

        >>> [round(share, 4) for share in FalseAlarms(above=1, held_out=20).interval]
        [0.0013, 0.2487]
        """
        from scipy.special import betaincinv  # scipy.stats, which calls it, takes longer to import than many a run

        tail, below = (1 - CONFIDENCE) / 2, self.held_out - self.above
        low = betaincinv(self.above, below + 1, tail) if self.above else 0.0
        high = betaincinv(self.above + 1, below, 1 - tail) if below else 1.0
        return float(low), float(high)

    def per_day(self, hop: float) -> str:
        """Tell the expected false alarms per day, at most, and their interval, of a healthy machine.

        Args:
            hop: from the start of one clip to that of the next, in s.

        >>> FalseAlarms(above=0, held_out=99).per_day(hop=10.0)
        '86 (0 to 316)'
        """
        rate, low, high = (f"{DAY / hop * share:,.0f}" for share in (self.rate, *self.interval))
        return f"{rate} ({low} to {high})"
