"""A gamma distribution fitted to normal scores."""

import logging
import warnings

import numpy as np

from mimii_pl.threshold._threshold import Threshold
from mimii_pl.threshold.percentile import Percentile

log = logging.getLogger(__name__)
MIN_SCORES = 10  # scores to fit three parameters to
DISTANCE = 0.3  # largest Kolmogorov-Smirnov distance of a fit that is used


class Gamma(Threshold):
    """Quantile of a gamma distribution with free location (official DCASE task 2 baselines), fitted to clip scores.

    The baselines fit it to the mean losses of training batches, which are narrower than those of clips; here it is
    fitted to what it decides about: scores of held-out normal clips. Where the fit is unstable (few scores, none
    found, far from the scores) the empirical percentile stands for it, and the log says so.
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
        log.warning("no stable gamma distribution of %d normal scores: their percentile is taken", len(normal))
        return empirical
