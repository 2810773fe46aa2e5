"""Distance from the principal components of the normal clips."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from mimii_pl.backend._backend import BackEnd


class PCA(BackEnd):
    """Squared distance of an embedding from the subspace of the principal components of the normal embeddings.

    Args:
        variance: share of the variance that the components explain, 0 to 1; they leave at least one dimension.
        **fitting: see `BackEnd`.
    """

    least = 2

    def __init__(self, *, variance: float = 0.9, **fitting: Any) -> None:
        super().__init__(**fitting)
        self.variance = variance

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        mean = x.mean(axis=0, dtype=np.float64)
        _, values, components = np.linalg.svd(x - mean, full_matrices=False)
        explained = np.cumsum(np.square(values)) / max(np.square(values).sum(), 1e-12)
        count = min(int(np.searchsorted(explained, self.variance - 1e-12)) + 1, x.shape[1] - 1)  # one is left to see
        return {"mean": mean, "components": components[:count]}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        deviation = x - part["mean"]
        residual = deviation - deviation @ part["components"].T @ part["components"]
        return np.square(residual).sum(axis=1)

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        deviation, components = x.double() - part["mean"], part["components"].double()
        return (deviation - deviation @ components.T @ components).square().sum(dim=1)
