"""Distance to the nearest normal clips."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.core.errors import InputError

DISTANCES = 2**22  # in memory at a time: 16 MB


class KNN(BackEnd):
    """Mean distance to the k nearest normal training embeddings.

    With local-density normalization (Wilkinghoff, TASLP 2025), the distance to each training clip is first divided by,
    or reduced by, that clip's own mean distance to its `density_k` nearest training clips.

    Args:
        k: number of neighbours.
        metric: `cosine` (1 - cosine similarity, 0 to 2) or `euclidean`.
        density: `none`, `ratio` or `difference`.
        density_k: number of neighbours of a training clip that estimate the density around it.
        **fitting: see `BackEnd`.
    """

    def __init__(
        self,
        *,
        k: int = 1,
        metric: Literal["cosine", "euclidean"] = "cosine",
        density: Literal["none", "ratio", "difference"] = "none",
        density_k: int = 4,
        **fitting: Any,
    ) -> None:
        super().__init__(**fitting)
        if k < 1 or density_k < 1:
            raise InputError(f"backend.k={k}, backend.density_k={density_k}: both must be at least 1")
        self.k, self.metric, self.density, self.density_k = k, metric, density, density_k
        self.least = max(k, 2 if density != "none" else 1)

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.density == "none":
            return {"bank": x}
        neighbours = min(self.density_k, len(x) - 1)
        nearest = self._nearest(x, x, neighbours + 1).sum(dim=1) / neighbours  # the clip itself adds distance 0
        return {"bank": x, "spread": nearest.cpu().numpy()}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self._nearest(x, part["bank"], self.k, part.get("spread")).mean(dim=1).cpu().numpy()

    def _nearest(self, x: np.ndarray, bank: np.ndarray, k: int, spread: np.ndarray | None = None) -> Tensor:
        """Find the k smallest (normalized) distances from each of x [n, D] to the bank [M, D], [n, k]."""
        stored = self._direction(torch.from_numpy(bank).to(self.device))
        density = None if spread is None else torch.from_numpy(spread).to(self.device)
        rows = max(1, DISTANCES // len(bank))
        smallest = stored.new_empty(len(x), min(k, len(bank)))  # allocated once: no fragmented heap
        for at in range(0, len(x), rows):
            queries = self._direction(torch.from_numpy(x[at : at + rows]).to(self.device))
            if self.metric == "cosine":
                distance = (1 - queries @ stored.T).clamp_(min=0)
            else:
                distance = torch.cdist(queries, stored, compute_mode="donot_use_mm_for_euclid_dist")
            if density is not None:
                distance = distance / (density + 1e-9) if self.density == "ratio" else distance - density
            smallest[at : at + rows] = distance.topk(smallest.shape[1], dim=1, largest=False).values
        return smallest

    def _direction(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) if self.metric == "cosine" else x
