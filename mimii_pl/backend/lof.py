"""Local outlier factor."""

from typing import Any

from mimii_pl.backend._estimator import Estimator
from mimii_pl.core.errors import InputError


class LOF(Estimator):
    """Local outlier factor (Breunig et al., SIGMOD 2000): a clip's sparsity relative to that of its neighbours.

    Args:
        k: number of neighbours.
        **fitting: see `Estimator`.
    """

    least = 3

    def __init__(self, *, k: int = 5, **fitting: Any) -> None:
        super().__init__(**fitting)
        if k < 1:
            raise InputError(f"backend.k={k}: must be at least 1")
        self.k = k

    def make(self, n: int) -> Any:
        from sklearn.neighbors import LocalOutlierFactor

        return LocalOutlierFactor(min(self.k, n - 1), novelty=True)
