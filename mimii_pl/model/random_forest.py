"""Random forest."""

from typing import Any

import numpy as np

from mimii_pl.model._estimator_classifier import EstimatorClassifier


class RandomForest(EstimatorClassifier):
    """Random forest (Breiman, 2001) on windows of log-mel frames; a window's probability is the mean over trees.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        trees: in the forest.
        depth: of a tree at most; it bounds the size on disk. None: no bound.
        **fitting: see `EstimatorClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, trees: int = 100, depth: int | None = 12, **fitting
    ) -> None:
        super().__init__(in_shape, n_classes, **fitting)

    def make(self, clips: np.ndarray) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        weight = "balanced" if self.hparams.balance else None
        return RandomForestClassifier(
            self.hparams.trees, max_depth=self.hparams.depth, class_weight=weight, random_state=self.hparams.seed
        )
