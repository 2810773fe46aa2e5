"""Distance to the nearest of a few centres of the normal clips."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.backend._distance import squared_distance


class KMeans(BackEnd):
    """Cosine distance to the nearest k-means centre of the normal embeddings, all scaled to unit length.

    Args:
        clusters: number of centres; at most the number of embeddings.
        seed: of the initial centres.
        **fitting: see `BackEnd`.
    """

    def __init__(self, *, clusters: int = 16, seed: int = 0, **fitting: Any) -> None:
        super().__init__(**fitting)
        self.clusters, self.seed = clusters, seed

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        from sklearn.cluster import KMeans as Clustering
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct embeddings than centres
            clustering = Clustering(min(self.clusters, len(x)), n_init=3, random_state=self.seed).fit(_unit(x))
        return {"centres": _unit(clustering.cluster_centers_)}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self.tensor_score({"centres": torch.from_numpy(part["centres"])}, torch.from_numpy(x)).numpy()

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return squared_distance(F.normalize(x, dim=1), part["centres"]).amin(dim=1) / 2


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
