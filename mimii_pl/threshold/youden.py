"""The threshold that separates labelled clips best: an oracle."""

import numpy as np

from mimii_pl.threshold.percentile import Percentile


class Youden(Percentile):
    """Score that maximizes the true-positive rate minus the false-positive rate (Youden's J; Cancer, 1950).

    It needs anomalies: those that the protocol reserves next to validation (`cross_validation`), or else the labels of
    the test clips, which are unknown in operation. Its decisions are an upper bound, and every table says *oracle*.
    A machine ID whose labelled clips are all of one class gets the percentile of its held-out normal clips instead.

    Args:
        quantile: share of normal clips to be called normal where the percentile is used.
    """

    oracle = True

    def of_labelled(self, scores: np.ndarray, anomalous: np.ndarray) -> float:
        from sklearn.metrics import roc_curve

        steps, ranks = np.unique(scores, return_inverse=True)  # ranks: roc_curve refuses infinite scores
        fpr, tpr, least = roc_curve(anomalous, ranks, drop_intermediate=False)
        best = int(np.argmax(tpr - fpr))
        if best == 0:  # calling nothing anomalous is best
            return float(steps[-1])
        above = steps[int(least[best])]  # the lowest score called anomalous
        below = steps[int(least[best]) - 1] if least[best] else -np.inf
        middle = below + (above - below) / 2 if np.isfinite([below, above]).all() else above
        return float(middle if below < middle < above else np.nextafter(above, -np.inf))

    @property
    def origin(self) -> str:
        return "oracle: Youden's J, chosen with labelled anomalies"
