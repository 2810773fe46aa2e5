"""Support vector machine."""

from typing import Any

import numpy as np

from mimii_pl.model._estimator_classifier import EstimatorClassifier


class SVM(EstimatorClassifier):
    """Support vector machine with a Gaussian kernel (Cortes, Vapnik, 1995) on windows of log-mel frames.

    Its distances become probabilities by a sigmoid (Platt, 1999) fitted in five-fold cross-validation by clip, so that
    windows of a clip are never on both sides.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        c: price of a window on the wrong side.
        gamma: width of the kernel; None: 1 / (D x variance).
        **fitting: see `EstimatorClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, c: float = 1.0, gamma: float | None = None, **fitting
    ) -> None:
        super().__init__(in_shape, n_classes, **fitting)

    def make(self, clips: np.ndarray) -> Any:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import GroupKFold
        from sklearn.svm import SVC

        weight = "balanced" if self.hparams.balance else None
        machine = SVC(C=self.hparams.c, gamma=self.hparams.gamma or "scale", class_weight=weight)
        folds = GroupKFold(min(5, len(np.unique(clips))), shuffle=True, random_state=self.hparams.seed)
        return CalibratedClassifierCV(machine, ensemble=False, cv=list(folds.split(clips, groups=clips)))
