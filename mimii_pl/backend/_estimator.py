"""Back ends that are estimators of scikit-learn or its kin, stored by skops: no pickle, known types only."""

from typing import Any

import numpy as np

from mimii_pl.backend._backend import BackEnd
from mimii_pl.errors import InputError

KNOWN = ("numpy.", "scipy.", "sklearn.")  # packages whose types may be read back


class Estimator(BackEnd):
    """Base of such back ends; a subclass makes the estimator, with `score_samples` that is higher for normal ones.

    Args:
        scale: bring each dimension to zero mean and unit variance over the normal embeddings first.
        **fitting: see `BackEnd`.
    """

    least = 2
    trusted = KNOWN

    def __init__(self, *, scale: bool = True, **fitting) -> None:
        super().__init__(**fitting)
        self.scale = scale
        self.loaded: dict[int, Any] = {}  # estimators by the identity of their part, read back once

    def make(self, n: int) -> Any:
        """An estimator for n embeddings, not fitted yet."""
        raise NotImplementedError

    def anomaly(self, estimator: Any, x: np.ndarray) -> np.ndarray:
        """Anomaly scores [n] of embeddings [n, D]."""
        return -estimator.score_samples(x)

    def fit(self, embeddings: np.ndarray, ids: np.ndarray) -> None:
        self.loaded.clear()
        super().fit(embeddings, ids)

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.loaded.clear()
        super().load_state(state)

    def learn(self, x: np.ndarray) -> dict[str, np.ndarray]:
        import skops.io

        mean, std = x.mean(axis=0), x.std(axis=0)
        part = {"mean": mean, "std": np.where(std > 0, std, 1)} if self.scale else {}
        estimator = self.make(len(x)).fit(self._scaled(part, x))
        part["skops"] = np.frombuffer(skops.io.dumps(estimator), np.uint8)
        return part

    def judge(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self.anomaly(self._estimator(part), self._scaled(part, x))

    def _scaled(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64)
        return (x - part["mean"]) / part["std"] if self.scale else x

    def _estimator(self, part: dict[str, np.ndarray]) -> Any:
        import skops.io

        if id(part) not in self.loaded:
            data = part["skops"].tobytes()
            types = skops.io.get_untrusted_types(data=data)
            strange = [name for name in types if not name.startswith(self.trusted)]
            if strange:
                raise InputError(f"the stored back end names {', '.join(strange)}: not loaded")
            self.loaded[id(part)] = skops.io.loads(data, trusted=types)
        return self.loaded[id(part)]
