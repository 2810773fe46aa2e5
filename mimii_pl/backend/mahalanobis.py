"""Distance to the mean of the normal clips, in units of their covariance."""

from typing import Any

import numpy as np

from mimii_pl.backend._backend import BackEnd


class Mahalanobis(BackEnd):
    """Squared Mahalanobis distance to the mean of the normal embeddings.

    Args:
        shrinkage: share of the covariance replaced by its mean variance, 0 to 1; None: set by Ledoit and Wolf's rule
            (Journal of Multivariate Analysis, 2004).
        **fitting: see `BackEnd`.
    """

    least = 2

    def __init__(self, *, shrinkage: float | None = None, **fitting: Any) -> None:
        super().__init__(**fitting)
        self.shrinkage = shrinkage

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        from sklearn.covariance import LedoitWolf, ShrunkCovariance

        x = x.astype(np.float64)
        covariance = LedoitWolf() if self.shrinkage is None else ShrunkCovariance(shrinkage=self.shrinkage)
        covariance.fit(x)
        return {"mean": covariance.location_, "precision": covariance.get_precision()}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        deviation = x - part["mean"]
        return np.einsum("nd,nd->n", deviation @ part["precision"], deviation)
