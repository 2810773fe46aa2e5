"""The empirical percentile of normal scores."""

import numpy as np

from mimii_pl.threshold._threshold import Threshold


class Percentile(Threshold):
    """The score that a share `quantile` of the held-out normal clips stays below; nothing is assumed of them."""

    def __call__(self, normal: np.ndarray) -> float:
        return float(np.quantile(normal, self.quantile))
