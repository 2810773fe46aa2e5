"""A gamma distribution fitted to normal scores."""

import logging
import warnings

import numpy as np

from mimii_pl.threshold._threshold import Threshold
from mimii_pl.threshold.percentile import Percentile

log = logging.getLogger(__name__)
MIN_SCORES = 10  # fewest scores to fit three parameters to
DISTANCE = 0.3  # largest Kolmogorov-Smirnov distance of an accepted fit


class Gamma(Threshold):
    """Quantile of a gamma distribution with free location, as in the official DCASE task 2 baselines.

    The baselines fit it to the mean losses of training batches, which spread less than those of clips. Here it is
    fitted to the scores it decides on, those of held-out normal clips. Where the fit is unstable (too few scores, no
    convergence, a poor match) the empirical percentile is used instead, with a warning.
    """

    def __call__(self, normal: np.ndarray) -> float:
        from scipy import stats

        empirical = Percentile(quantile=self.quantile)(normal)
        spread = float(np.ptp(normal))
        if len(normal) >= MIN_SCORES and spread > 0 and np.isfinite(normal).all():
            scaled = (normal - normal.min()) / spread
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    fitted = stats.gamma(*stats.gamma.fit(scaled))
                    limit = float(fitted.ppf(self.quantile))
                    distance = float(stats.kstest(scaled, fitted.cdf).statistic)
                except (stats.FitError, ValueError, RuntimeError):
                    limit = distance = np.nan
            if distance <= DISTANCE and 0 <= limit <= 2:
                return float(normal.min() + spread * limit)
        log.warning("no stable gamma fit to %d normal scores: their percentile is used instead", len(normal))
        return empirical
