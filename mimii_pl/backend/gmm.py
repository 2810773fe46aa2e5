"""Gaussian mixture."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor

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

    def tensor_part(self, part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        mixture = self._estimator(part)
        means, cholesky = mixture.means_, mixture.precisions_cholesky_  # [K, D]; of the precisions
        if self.covariance == "tied":
            cholesky = np.broadcast_to(cholesky, (len(means), *cholesky.shape))
        elif self.covariance == "spherical":
            cholesky = np.broadcast_to(cholesky[:, None], means.shape)
        diagonal = np.diagonal(cholesky, axis1=1, axis2=2) if cholesky.ndim == 3 else cholesky
        constant = np.log(mixture.weights_) + np.log(diagonal).sum(axis=1) - means.shape[1] / 2 * math.log(2 * math.pi)
        scaling = {name: part[name] for name in ("mean", "std") if self.scale}
        return {"means": means, "cholesky": np.ascontiguousarray(cholesky), "constant": constant, **scaling}

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        x = x.double()
        if self.scale:
            x = (x - part["mean"]) / part["std"]
        deviation, cholesky = x - part["means"][:, None], part["cholesky"]  # [K, n, D]
        white = deviation @ cholesky if cholesky.ndim == 3 else deviation * cholesky[:, None]
        return -(part["constant"][:, None] - white.square().sum(dim=2) / 2).logsumexp(dim=0)
