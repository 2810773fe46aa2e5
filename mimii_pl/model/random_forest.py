"""Random forest classifier of windows of frames."""

from typing import Any

import numpy as np

from mimii_pl.model._estimator_classifier import EstimatorClassifier


class RandomForest(EstimatorClassifier):
    """Random forest on windows of log-mel frames (Breiman, 2001).

    A classical reference for the neural classifiers. The probability of a window is the mean over trees.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        trees: number of trees.
        depth: maximum depth of a tree, which limits the size on disk; None: no limit.
        limit: maximum number of windows it is fitted on.
        **fitting: see `EstimatorClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        trees: int = 100,
        depth: int | None = 12,
        limit: int = 10_000,
        **fitting: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, limit=limit, **fitting)

    def make(self, clips: np.ndarray) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        weight = "balanced" if self.hparams.balance else None
        return RandomForestClassifier(
            self.hparams.trees, max_depth=self.hparams.depth, class_weight=weight, random_state=self.hparams.seed
        )
