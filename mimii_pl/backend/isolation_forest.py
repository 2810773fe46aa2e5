"""Isolation forest."""

from typing import Any

from mimii_pl.backend._backend import Pool
from mimii_pl.backend._estimator import Estimator


class IsolationForest(Estimator):
    """Isolation forest (Liu et al., ICDM 2008): embeddings that random cuts isolate early are anomalous.

    Args:
        trees: number of trees in the forest.
        seed: of the random cuts.
        pool: see `BackEnd`; by default every window is fitted and scored.
        **fitting: see `Estimator`.
    """

    def __init__(self, *, trees: int = 100, seed: int = 0, pool: Pool = "none", **fitting: Any) -> None:
        super().__init__(pool=pool, **fitting)
        self.trees, self.seed = trees, seed

    def make(self, n: int) -> Any:
        from sklearn.ensemble import IsolationForest as Forest

        return Forest(n_estimators=self.trees, random_state=self.seed)
