"""Gaussian mixture."""

from typing import Any, Literal

from mimii_pl.backend._estimator import Estimator


class GMM(Estimator):
    """Negative log-likelihood under a mixture of Gaussians, in nats.

    Args:
        components: number of Gaussians; at most half the number of embeddings.
        covariance: `diag`, `full`, `spherical` or `tied`.
        regularization: added to every variance; the scaled embeddings have unit variance.
        seed: of the initial means.
        **fitting: see `Estimator`.
    """

    def __init__(
        self,
        *,
        components: int = 2,
        covariance: Literal["diag", "full", "spherical", "tied"] = "diag",
        regularization: float = 1e-3,
        seed: int = 0,
        **fitting: Any,
    ) -> None:
        super().__init__(**fitting)
        self.components, self.covariance = components, covariance
        self.regularization, self.seed = regularization, seed

    def make(self, n: int) -> Any:
        from sklearn.mixture import GaussianMixture

        return GaussianMixture(
            min(self.components, max(1, n // 2)),
            covariance_type=self.covariance,
            reg_covar=self.regularization,
            max_iter=500,
            random_state=self.seed,
            init_params="random_from_data",
        )
