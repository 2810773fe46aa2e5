"""Isolation forest."""

from typing import Any

from mimii_pl.backend._estimator import Estimator


class IsolationForest(Estimator):
    """Isolation forest (Liu et al., ICDM 2008): what random cuts separate early is anomalous.

    Args:
        trees: in the forest.
        seed: of the cuts.
        **fitting: see `Estimator`.
    """

    def __init__(self, *, trees: int = 100, seed: int = 0, **fitting) -> None:
        super().__init__(**fitting)
        self.trees, self.seed = trees, seed

    def make(self, n: int) -> Any:
        from sklearn.ensemble import IsolationForest as Forest

        return Forest(n_estimators=self.trees, random_state=self.seed)
