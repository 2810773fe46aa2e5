"""One-class support vector machine."""

from typing import Any

from mimii_pl.backend._backend import Pool
from mimii_pl.backend._estimator import Estimator


class OneClassSVM(Estimator):
    """One-class support vector machine with a Gaussian kernel (Schoelkopf et al., Neural Computation 2001).

    Args:
        nu: upper bound on the share of training embeddings outside the boundary, 0 to 1.
        gamma: coefficient of the kernel; None: 1 / (D x variance).
        pool: see `BackEnd`; by default every window is fitted and scored.
        limit: largest number of embeddings it is fitted on; time grows with its square.
        **fitting: see `Estimator`.
    """

    def __init__(
        self, *, nu: float = 0.1, gamma: float | None = None, pool: Pool = "none", limit: int = 4000, **fitting: Any
    ) -> None:
        super().__init__(pool=pool, limit=limit, **fitting)
        self.nu, self.gamma = nu, gamma

    def make(self, n: int) -> Any:
        from sklearn.svm import OneClassSVM as Machine

        return Machine(nu=self.nu, gamma="scale" if self.gamma is None else self.gamma)
