"""The covariance of few observations of many variables."""

import numpy as np


def ledoit_wolf(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Estimate the covariance of observations, shrunk towards their mean variance as far as it is likely to help.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
    Analysis, 2004. It does what scikit-learn's function of this name does, which takes a second to import.

    Args:
        x: [n, D], float64.

    Returns:
        The covariance [D, D], and the shrinkage: the share of it that is replaced, 0 to 1.
    """
    covariance = covariance_of(x)
    squared = np.square(covariance).sum()
    from_target = squared - np.trace(covariance) ** 2 / len(covariance)
    lengths = np.square(x - x.mean(axis=0)).sum(axis=1)
    error = (np.square(lengths).mean() - squared) / len(x)
    shrinkage = float(min(error / from_target, 1)) if from_target > 0 and error > 0 else 0.0
    return shrink(covariance, shrinkage), shrinkage


def covariance_of(x: np.ndarray) -> np.ndarray:
    """Return the covariance [D, D] of observations [n, D]."""
    centred = x - x.mean(axis=0)
    return centred.T @ centred / len(x)


def shrink(covariance: np.ndarray, share: float) -> np.ndarray:
    """Replace a share, 0 to 1, of a covariance [D, D] by its mean variance, equal for all variables."""
    variance = np.trace(covariance) / len(covariance)
    return (1 - share) * covariance + share * variance * np.eye(len(covariance))
