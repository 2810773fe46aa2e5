"""The threshold that separates labelled faults best within a promised rate of false alarms: an oracle."""

import numpy as np

from mimii_pl.threshold.conformal import Conformal


class Balanced(Conformal):
    """Score, not below that of `Conformal`, that maximizes the balanced accuracy; of several, the lowest.

    It needs labelled faults: marks (`mimii update`), anomalies that the protocol reserves, or else the labels of the
    test clips. Its decisions are an upper bound, and every table says *oracle*. Where faults stand clear of normal
    clips it is the highest normal score; where none is above that of `Conformal`, it is that.

    Args:
        quantile: share of new normal clips to be called normal.
    """

    oracle = True

    def of_labelled(self, scores: np.ndarray, anomalous: np.ndarray) -> float:
        normal, faults = np.sort(scores[anomalous == 0]), np.sort(scores[anomalous == 1])
        limit = self(normal)
        cuts = np.concatenate([[limit], normal[normal > limit]])
        found, false = (1 - np.searchsorted(own, cuts, side="right") / len(own) for own in (faults, normal))
        return float(cuts[np.argmax(found - false)]) if found[0] else limit

    @property
    def origin(self) -> str:
        share = 100 * (1 - self.quantile)
        return f"oracle: balanced by labelled faults, of the thresholds with {share:.3g} % false alarms or fewer"
