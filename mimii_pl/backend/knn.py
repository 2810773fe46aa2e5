"""Distance to the nearest normal clips."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.core.errors import InputError

DISTANCES = 2**22  # held at a time: 16 MB


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

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        if self.density == "none":
            return {"bank": x}
        neighbours = min(self.density_k, len(x) - 1)
        nearest = self._nearest(x, x, neighbours + 1).sum(dim=1) / neighbours  # itself, at distance 0, is one of them
        return {"bank": x, "spread": nearest.cpu().numpy()}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self._nearest(x, part["bank"], self.k, part.get("spread")).mean(dim=1).cpu().numpy()

    def _nearest(self, x: np.ndarray, bank: np.ndarray, k: int, spread: np.ndarray | None = None) -> Tensor:
        """The k smallest (normalised) distances of each of x [n, D] to the bank [M, D]: [n, k]."""
        there = self._direction(torch.from_numpy(bank).to(self.device))
        density = None if spread is None else torch.from_numpy(spread).to(self.device)
        rows = max(1, DISTANCES // len(bank))
        found = there.new_empty(len(x), min(k, len(bank)))  # made once, not added to: the heap stays whole
        for at in range(0, len(x), rows):
            here = self._direction(torch.from_numpy(x[at : at + rows]).to(self.device))
            if self.metric == "cosine":
                distance = (1 - here @ there.T).clamp_(min=0)
            else:
                distance = torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist")
            if density is not None:
                distance = distance / (density + 1e-9) if self.density == "ratio" else distance - density
            found[at : at + rows] = distance.topk(found.shape[1], dim=1, largest=False).values
        return found

    def _direction(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) if self.metric == "cosine" else x
