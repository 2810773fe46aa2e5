"""Support vector machine classifier of windows of frames."""

from typing import Any

import numpy as np

from mimii_pl.model._estimator_classifier import EstimatorClassifier


class SVM(EstimatorClassifier):
    """Support vector machine with a Gaussian kernel on windows of log-mel frames (Cortes, Vapnik, 1995).

    A classical reference for the neural classifiers. Distances are turned into probabilities by a sigmoid (Platt, 1999)
    fitted in five-fold cross-validation grouped by clip, so that windows of a clip are never in two folds.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        c: penalty of a misclassified window.
        gamma: coefficient of the kernel; None: 1 / (D x variance).
        limit: maximum number of windows it is fitted on.
        **fitting: see `EstimatorClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        c: float = 1.0,
        gamma: float | None = None,
        limit: int = 2_000,
        **fitting: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, limit=limit, **fitting)

    def make(self, clips: np.ndarray) -> Any:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import GroupKFold
        from sklearn.svm import SVC

        weight = "balanced" if self.hparams.balance else None
        machine = SVC(C=self.hparams.c, gamma=self.hparams.gamma or "scale", class_weight=weight)
        folds = GroupKFold(min(5, len(np.unique(clips))), shuffle=True, random_state=self.hparams.seed)
        return CalibratedClassifierCV(machine, ensemble=False, cv=list(folds.split(clips, groups=clips)))
