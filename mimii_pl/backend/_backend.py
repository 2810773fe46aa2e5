"""What every scoring back end is: fitted on embeddings of normal training clips, scores any other."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError

Pool = Literal["mean", "mean_std", "max", "gem", "none"]
GEM_POWER = 3.0
ALL_IDS = -1  # the part fitted on all machine IDs: for IDs not heard in training


class BackEnd:
    """Base of the back ends. N clips, D numbers per embedding; higher scores are more anomalous.

    A subclass implements `fit_one`, which makes one part (arrays by name) of the normal embeddings of one machine ID,
    and `score_one`, which scores embeddings by a part.

    Args:
        per_id: fit and judge per machine ID; False: pool all IDs. A clip of an ID not heard in training is judged
            against all of them.
        pool: how the embeddings of a clip's windows become one: `mean`, `mean_std` (both, one after the other), `max`,
            `gem` (generalised mean with power 3 of absolute values); `none`: every window is fitted and judged, and the
            clip's score is the mean. Embeddings of whole clips are taken as they are.
        limit: embeddings a part is fitted on at most, drawn at random from more.
    """

    least = 1  # embeddings that a part needs

    def __init__(self, *, per_id: bool = True, pool: Pool = "mean", limit: int = 20_000) -> None:
        self.per_id, self.pool, self.limit = per_id, pool, limit
        self.device = torch.device("cpu")
        self.parts: dict[int, dict[str, np.ndarray]] = {}

    @property
    def name(self) -> str:
        """Name on the command line: that of its module."""
        return type(self).__module__.rsplit(".", 1)[1]

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """A part made of normal embeddings [n, D]."""
        raise NotImplementedError

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """Anomaly scores [n] of embeddings [n, D]."""
        raise NotImplementedError

    def fit(self, embeddings: np.ndarray, ids: np.ndarray) -> None:
        """Learn from normal clips: embeddings [N, D] or [N, W, D], pooled already, and machine ID numbers [N].

        Raises:
            InputError: too few clips.
        """
        self.parts = {ALL_IDS: self._fit_part(embeddings, "all machine IDs together")}
        for id_ in np.unique(ids) if self.per_id else ():
            self.parts[int(id_)] = self._fit_part(embeddings[ids == id_], f"machine ID number {id_}")

    def _fit_part(self, embeddings: np.ndarray, whose: str) -> dict[str, np.ndarray]:
        x = _flat(embeddings)
        if len(x) < self.least:
            raise InputError(
                f"backend {type(self).__name__} needs {self.least} embeddings of normal clips at least; {whose} has "
                f"{len(x)}. backend.per_id=false pools all IDs"
            )
        if len(x) > self.limit:
            x = x[np.random.default_rng(0).choice(len(x), self.limit, replace=False)]
        return self.fit_one(x)

    def score(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Anomaly scores [N] of clips with embeddings [N, D] or [N, W, D], pooled already."""
        scores = np.empty(len(embeddings), np.float64)
        for id_ in np.unique(ids):
            own = ids == id_
            part = self.parts.get(int(id_), self.parts[ALL_IDS])
            scores[own] = self.score_one(part, _flat(embeddings[own])).reshape(own.sum(), -1).mean(axis=1)
        return scores

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything `fit` learned, as arrays."""
        return {f"{id_}.{name}": array for id_, part in self.parts.items() for name, array in part.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self.parts = {}
        for key, array in state.items():
            id_, name = key.split(".")
            self.parts.setdefault(int(id_), {})[name] = array


def pool(embeddings: Tensor, how: Pool) -> Tensor:
    """Embeddings of windows to those of clips, [B, W, D] -> [B, D] (`mean_std`: [B, 2 D]; `none`: unchanged).

    Embeddings of clips [B, D] come back as they are.
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
    return pools[how](embeddings)


def _flat(embeddings: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[-1]), np.float32)
