"""The base of back ends that wrap a scikit-learn estimator, stored by skops: no pickle, known types only.

A part holds its estimator; where the back end is stored, the bytes of its skops file stand for it.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from mimii_pl.backend._backend import BackEnd
from mimii_pl.core.skops_io import ESTIMATOR_TYPES, dump_estimator, load_estimator


class Estimator(BackEnd):
    """Base of the back ends that wrap an estimator, made by a subclass; its `score_samples` is higher for normal clips.

    Args:
        scale: standardize each dimension to zero mean and unit variance over the normal embeddings first.
        **fitting: see `BackEnd`.
    """

    least = 2
    positive = False

    def __init__(self, *, scale: bool = True, **fitting: Any) -> None:
        super().__init__(**fitting)
        self.scale = scale

    @property
    def types(self) -> Collection[str]:
        """Names of the types that its estimators are made of."""
        return ESTIMATOR_TYPES

    def make(self, n: int) -> Any:
        """Make an unfitted estimator for n embeddings."""
        raise NotImplementedError

    def anomaly(self, estimator: Any, x: np.ndarray) -> np.ndarray:
        """Compute the anomaly scores [n] of embeddings [n, D]."""
        return -estimator.score_samples(x)

    def state_dict(self) -> dict[str, np.ndarray]:
        for part in self.parts.values():
            if "estimator" in part and "skops" not in part:  # those of cross-fitting are never stored, which takes long
                part["skops"] = dump_estimator(part["estimator"], f"back end {self.name}", self.types)
        return {key: array for key, array in super().state_dict().items() if not key.endswith(".estimator")}

    def fit_one(self, x: np.ndarray) -> dict[str, Any]:
        mean, std = x.mean(axis=0), x.std(axis=0)
        part = {"mean": mean, "std": np.where(std > 0, std, 1)} if self.scale else {}
        return part | {"estimator": self.make(len(x)).fit(self._scaled(part, x))}

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self.anomaly(self._estimator(part), self._scaled(part, x))

    def _scaled(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64)
        return (x - part["mean"]) / part["std"] if self.scale else x

    def _estimator(self, part: dict[str, np.ndarray]) -> Any:
        if "estimator" not in part:
            part["estimator"] = load_estimator(part["skops"], f"back end {self.name}", self.types)
        return part["estimator"]
