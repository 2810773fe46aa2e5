"""Choose few embeddings that stand for many."""

import numpy as np


def k_centre(x: np.ndarray, most: int, first: int | None = None) -> np.ndarray:
    """Choose rows so that every other row is near one of them: each next one is the farthest from those chosen.

    The largest distance that is left is at most twice the smallest possible one (Gonzalez, Theoretical Computer Science
    1985). Distances are Euclidean after each value is divided by its standard deviation.

    Args:
        x: embeddings [N, D], or [N, W, D], whose windows are averaged.
        most: rows to choose; with as many rows or fewer, all are chosen.
        first: row to begin with; None: the one nearest to the mean.

    Returns:
        The chosen rows, in the order in which they were chosen; fewer if the others are equal to one of them.

    >>> k_centre(np.array([[0.0], [0.1], [5.0], [5.2], [9.0]]), 3).tolist()
    [2, 0, 4]
    """
    x = x.astype(np.float64)
    x = x.mean(axis=1) if x.ndim == 3 else x
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    row = int(np.linalg.norm(x, axis=1).argmin()) if first is None else first
    chosen, distance = [row], np.linalg.norm(x - x[row], axis=1)
    while len(chosen) < min(most, len(x)) and distance.max() > 0:
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, np.linalg.norm(x - x[row], axis=1))
    return np.array(chosen)
