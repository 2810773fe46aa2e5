"""Distances that keep their digits where embeddings are alike."""

from torch import Tensor


def squared_distance(queries: Tensor, stored: Tensor) -> Tensor:
    """Compute squared Euclidean distances, [n, D] and [M, D] -> [n, M]; half of one is the cosine distance of units.

    |q|^2 + |s|^2 - 2 q s, counted from the mean of what is stored, from which spectra differ far less than from 0. In
    single precision 1 - q s loses three of seven digits, and logarithms of it show that.
    """
    centre = stored.mean(dim=0)
    q, s = queries - centre, stored - centre
    squares = q.square().sum(dim=1, keepdim=True) + s.square().sum(dim=1)
    return (squares - 2 * q @ s.T).clamp_(min=0)
