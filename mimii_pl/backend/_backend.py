"""The base of every back end: fitted on embeddings of normal training clips, scores any other clip."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError

Pool = Literal["mean", "mean_std", "max", "gem", "none"]
GEM_POWER = 3.0
ALL_IDS = -1  # the part fitted on all machine IDs: for IDs not seen in training


class BackEnd:
    """Base of the back ends. N clips, W windows, D numbers per embedding; higher scores are more anomalous.

    A subclass implements `fit_one`, which fits one part (arrays by name) to the normal embeddings of one machine ID,
    and `score_one`, which scores embeddings with a part.

    Args:
        per_id: fit and score per machine ID; False: pool all IDs. A clip of an ID not seen in training is scored
            against all of them.
        pool: how the embeddings of a clip's windows are combined: `mean`, `mean_std` (concatenated), `max`, `gem`
            (generalized mean of the absolute values, power 3); `none`: every window is fitted and scored, and the
            clip's score is the mean. Embeddings of whole clips are used unchanged.
        limit: largest number of embeddings a part is fitted on; more are subsampled at random.
    """

    least = 1  # fewest embeddings a part can be fitted on

    def __init__(self, *, per_id: bool = True, pool: Pool = "mean", limit: int = 20_000) -> None:
        self.per_id, self.pool, self.limit = per_id, pool, limit
        self.device = torch.device("cpu")
        self.parts: dict[int, dict[str, np.ndarray]] = {}

    @property
    def name(self) -> str:
        """Name on the command line, which is the name of the module."""
        return type(self).__module__.rpartition(".")[2]

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Fit a part, arrays by name, to normal embeddings [n, D]."""
        raise NotImplementedError

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """Compute the anomaly scores [n] of embeddings [n, D]."""
        raise NotImplementedError

    def fit(self, embeddings: np.ndarray, ids: np.ndarray) -> None:
        """Fit to normal clips.

        Args:
            embeddings: [N, D], or [N, W, D] where windows are not pooled.
            ids: machine ID numbers [N].

        Raises:
            InputError: too few clips.

        Example:
            >>> import numpy as np
            >>> from mimii_pl.backend.knn import KNN
            >>> backend = KNN(metric="euclidean")
            >>> backend.fit(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]]), ids=np.array([0, 0, 1]))
            >>> backend.score(np.array([[1.0, 2.0], [9.0, 9.0]]), ids=np.array([0, 1])).tolist()
            [2.0, 0.0]
        """
        self.parts = {ALL_IDS: self._fit_part(embeddings, "the pool of all machine IDs")}
        for id_ in np.unique(ids) if self.per_id else ():
            self.parts[int(id_)] = self._fit_part(embeddings[ids == id_], f"machine ID number {id_}")

    def _fit_part(self, embeddings: np.ndarray, whose: str) -> dict[str, np.ndarray]:
        x = _flat(embeddings)
        if len(x) < self.least:
            raise InputError(
                f"backend={self.name} needs at least {self.least} embeddings of normal clips, but {whose} has only "
                f"{len(x)}: set backend.per_id=false to pool all IDs"
            )
        if len(x) > self.limit:
            x = x[np.random.default_rng(0).choice(len(x), self.limit, replace=False)]
        return self.fit_one(x)

    def score(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Compute the anomaly scores [N] of clips from embeddings [N, D], or [N, W, D] where windows are not pooled."""
        scores = np.empty(len(embeddings), np.float64)
        for id_ in np.unique(ids):
            own = ids == id_
            part = self.parts.get(int(id_), self.parts[ALL_IDS])
            scores[own] = self.score_one(part, _flat(embeddings[own])).reshape(own.sum(), -1).mean(axis=1)
        return scores

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything `fit` learned, as arrays by name."""
        return {f"{id_}.{name}": array for id_, part in self.parts.items() for name, array in part.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the arrays that `state_dict` returned."""
        self.parts = {}
        for key, array in state.items():
            id_, name = key.split(".")
            self.parts.setdefault(int(id_), {})[name] = array


def pool(embeddings: Tensor, method: Pool) -> Tensor:
    """Pool the embeddings of windows, [B, W, D] -> [B, D] (`mean_std`: [B, 2 D]; `none`: unchanged).

    Embeddings of whole clips, [B, D], are returned unchanged.
    """
    if embeddings.ndim == 2:
        return embeddings
    pools: dict[str, Any] = {
        "none": lambda x: x,
        "mean": lambda x: x.mean(dim=1),
        "mean_std": lambda x: torch.cat([x.mean(dim=1), x.std(dim=1, correction=0)], dim=1),
        "max": lambda x: x.amax(dim=1),
        "gem": lambda x: x.abs().clamp(min=1e-6).pow(GEM_POWER).mean(dim=1).pow(1 / GEM_POWER),
    }
    return pools[method](embeddings)


def _flat(embeddings: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[-1]), np.float32)
