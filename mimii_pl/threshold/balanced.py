"""The threshold that separates labelled faults best within a promised rate of false alarms: an oracle."""

import numpy as np

from mimii_pl.threshold.conformal import Conformal
from mimii_pl.threshold.youden import Youden


class Balanced(Conformal):
    """Score, not below that of `Conformal`, that maximizes the balanced accuracy.

    It needs labelled faults: marks (`mimii update`), anomalies that the protocol reserves, or else the labels of the
    test clips. Its decisions are an upper bound, and every table says *oracle*. Where faults stand clear of normal
    clips it lies midway between them, above what normal clips alone would ask for; where none is above that, it is that
    of `Conformal`.

    Args:
        quantile: share of new normal clips to be called normal.
    """

    oracle = True

    def of_labelled(self, scores: np.ndarray, anomalous: np.ndarray) -> float:
        limit = self(scores[anomalous == 0])
        if not (scores[anomalous == 1] > limit).any():
            return limit
        raised = np.maximum(scores, limit)  # all below are normal at any threshold that is allowed
        return max(limit, Youden(quantile=self.quantile).of_labelled(raised, anomalous))

    @property
    def origin(self) -> str:
        share = 100 * (1 - self.quantile)
        return f"oracle: balanced by labelled faults, of the thresholds with {share:.3g} % false alarms or fewer"
