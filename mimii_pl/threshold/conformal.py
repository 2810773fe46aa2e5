"""The score that new normal clips seldom exceed, guaranteed for a finite number of held-out ones."""

import math

import numpy as np

from mimii_pl.threshold._threshold import Threshold

DIGITS = 9  # of products such as 0.99 * 100, which may be a little more than a whole number


class Conformal(Threshold):
    """Rank among n held-out normal scores: the `quantile * (n + 1)`-th lowest one, rounded up (split conformal).

    A new normal clip, exchangeable with the held-out ones, exceeds it with a probability of at most `1 - quantile`,
    whatever the distribution (Laxhammar and Falkman, Ann. Math. Artif. Intell. 2015); a percentile promises that of
    many clips only. Fewer than `quantile / (1 - quantile)` clips cannot promise it: the threshold is the highest score,
    which a new normal clip exceeds with a probability of at most 1 / (n + 1), with a warning.

    Args:
        quantile: share of new normal clips to be called normal.
    """

    guarantees = True

    def __init__(self, *, quantile: float = 0.99) -> None:
        super().__init__(quantile=quantile)

    def __call__(self, normal: np.ndarray) -> float:
        rank = math.ceil(round(self.quantile * (len(normal) + 1), DIGITS))
        return float(np.sort(normal)[min(max(rank, 1), len(normal)) - 1])
