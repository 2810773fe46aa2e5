"""One-class support vector machine."""

from typing import Any

from mimii_pl.backend._estimator import Estimator


class OneClassSVM(Estimator):
    """One-class support vector machine with a Gaussian kernel (Schoelkopf et al., Neural Computation 2001).

    Args:
        nu: upper bound of the share of training embeddings outside, 0 to 1.
        gamma: width of the kernel: None: 1 / (D x variance).
        limit: embeddings it is fitted on at most: its time grows with their square.
        **fitting: see `Estimator`.
    """

    def __init__(self, *, nu: float = 0.1, gamma: float | None = None, limit: int = 4000, **fitting) -> None:
        super().__init__(limit=limit, **fitting)
        self.nu, self.gamma = nu, gamma

    def make(self, n: int) -> Any:
        from sklearn.svm import OneClassSVM as Machine

        return Machine(nu=self.nu, gamma="scale" if self.gamma is None else self.gamma)
