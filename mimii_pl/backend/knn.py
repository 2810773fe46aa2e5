"""Distance to the nearest normal clips."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.errors import InputError

DISTANCES = 2**24  # held at a time: 64 MB


class KNN(BackEnd):
    """Mean distance to the k nearest normal training embeddings.

    With local-density normalisation (Wilkinghoff, TASLP 2025) each distance is first compared with how far apart normal
    clips are there: divided by, or less, the mean distance of that training clip to its own `density_k` nearest.

    Args:
        k: neighbours.
        metric: `cosine` (1 - cosine similarity, 0 to 2) or `euclidean`.
        density: `none`, `ratio` or `difference`.
        density_k: neighbours of a training clip that tell the density there.
        **fitting: see `BackEnd`.
    """

    def __init__(
        self,
        *,
        k: int = 1,
        metric: Literal["cosine", "euclidean"] = "cosine",
        density: Literal["none", "ratio", "difference"] = "none",
        density_k: int = 4,
        **fitting,
    ) -> None:
        super().__init__(**fitting)
        if k < 1 or density_k < 1:
            raise InputError(f"backend.k={k}, backend.density_k={density_k}: both are at least 1")
        self.k, self.metric, self.density, self.density_k = k, metric, density, density_k
        self.least = max(k, 2 if density != "none" else 1)

    def learn(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.density == "none":
            return {"bank": x}
        neighbours = min(self.density_k, len(x) - 1)
        nearest = self._nearest(x, x, neighbours + 1).sum(dim=1) / neighbours  # itself, at distance 0, is one of them
        return {"bank": x, "spread": nearest.cpu().numpy()}

    def judge(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self._nearest(x, part["bank"], self.k, part.get("spread")).mean(dim=1).cpu().numpy()

    def _nearest(self, x: np.ndarray, bank: np.ndarray, k: int, spread: np.ndarray | None = None) -> Tensor:
        """The k smallest (normalised) distances of each of x [n, D] to the bank [M, D]: [n, k]."""
        there = torch.from_numpy(bank).to(self.device)
        density = None if spread is None else torch.from_numpy(spread).to(self.device)
        rows = max(1, DISTANCES // len(bank))
        found = []
        for part in torch.from_numpy(x).split(rows):
            distance = self._distances(part.to(self.device), there)
            if density is not None:
                distance = distance / (density + 1e-9) if self.density == "ratio" else distance - density
            found.append(distance.topk(min(k, len(bank)), dim=1, largest=False).values)
        return torch.cat(found)

    def _distances(self, x: Tensor, bank: Tensor) -> Tensor:
        if self.metric == "cosine":
            return (1 - F.normalize(x, dim=1) @ F.normalize(bank, dim=1).T).clamp(min=0)
        return torch.cdist(x, bank, compute_mode="donot_use_mm_for_euclid_dist")
