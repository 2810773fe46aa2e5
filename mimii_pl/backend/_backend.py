"""What every scoring back end is: fitted on embeddings of normal training clips, scores any other."""

import numpy as np


class BackEnd:
    """Base of the back ends. N clips, D numbers per embedding; higher scores are more anomalous.

    Args:
        per_id: fit and judge per machine ID; False: pool all IDs. A clip of an ID not heard in training is judged
            against all of them.
    """

    def __init__(self, *, per_id: bool = True) -> None:
        self.per_id = per_id

    def fit(self, embeddings: np.ndarray, ids: np.ndarray) -> None:
        """Learn from normal clips: embeddings [N, D] and machine ID numbers [N]."""
        raise NotImplementedError

    def score(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Anomaly scores [N]."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        """Everything `fit` learned, as arrays."""
        raise NotImplementedError

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        raise NotImplementedError
