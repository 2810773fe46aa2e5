"""Distance to the nearest normal clips."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.errors import InputError

CHUNK = 1024  # clips scored at a time: bounds the distance matrix


class KNN(BackEnd):
    """Mean distance to the k nearest normal training embeddings of the same machine ID.

    Args:
        k: neighbours.
        metric: `cosine` (1 - cosine similarity, 0 to 2) or `euclidean`.
        per_id: see `BackEnd`.
    """

    def __init__(self, *, k: int = 1, metric: Literal["cosine", "euclidean"] = "cosine", per_id: bool = True) -> None:
        super().__init__(per_id=per_id)
        self.k, self.metric = k, metric

    def fit(self, embeddings: np.ndarray, ids: np.ndarray) -> None:
        if len(embeddings) < self.k:
            raise InputError(f"backend.k={self.k} neighbours need as many training clips; there are {len(embeddings)}")
        self.bank, self.ids = np.asarray(embeddings, np.float32), np.asarray(ids)

    def score(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        scores = np.empty(len(embeddings), np.float32)
        for id_ in np.unique(ids):
            rows, bank = np.flatnonzero(ids == id_), self.bank
            if self.per_id and (own := self.ids == id_).any():
                bank = bank[own]
            for part in np.array_split(rows, -(-len(rows) // CHUNK)):
                query = torch.from_numpy(np.asarray(embeddings[part], np.float32))
                scores[part] = self._nearest(query, torch.from_numpy(bank)).numpy()
        return scores

    def _nearest(self, query: Tensor, bank: Tensor) -> Tensor:
        if self.metric == "cosine":
            distance = 1 - F.normalize(query, dim=1) @ F.normalize(bank, dim=1).T
        else:
            distance = torch.cdist(query, bank)
        return distance.topk(min(self.k, len(bank)), dim=1, largest=False).values.mean(dim=1)

    def state(self) -> dict[str, np.ndarray]:
        return {"bank": self.bank, "ids": self.ids}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.bank, self.ids = state["bank"], state["ids"]
