"""Distance to the mean of the normal clips, in units of their covariance."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.backend._covariance import covariance_of, ledoit_wolf, shrink

SURELY_POSITIVE = 1e-6  # shrinkage from which a covariance is inverted, 50 times faster than a pseudo-inverse
RTOL = 1e-15  # of the pseudo-inverse, as numpy has it


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
        x = x.astype(np.float64)
        if self.shrinkage is None:
            covariance, shrinkage = ledoit_wolf(x)
        else:
            covariance, shrinkage = shrink(covariance_of(x), self.shrinkage), self.shrinkage
        positive = shrinkage > SURELY_POSITIVE and np.trace(covariance) > 0
        inverse = torch.linalg.inv if positive else partial(torch.linalg.pinv, rtol=RTOL, hermitian=True)
        precision = inverse(torch.from_numpy(covariance)).numpy()  # numpy takes several times as long
        return {"mean": x.mean(axis=0), "precision": precision}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        deviation = x - part["mean"]
        return np.einsum("nd,nd->n", deviation @ part["precision"], deviation)

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        deviation = x.double() - part["mean"]
        return ((deviation @ part["precision"]) * deviation).sum(dim=1)
