"""The empirical percentile of normal scores."""

import numpy as np

from mimii_pl.threshold._threshold import Threshold


class Percentile(Threshold):
    """Score below which a share `quantile` of the held-out normal clips lies; assumes no distribution."""

    def __call__(self, normal: np.ndarray) -> float:
        return float(np.quantile(normal, self.quantile))
