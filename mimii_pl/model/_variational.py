"""The two formulas of variational auto-encoders (Kingma, Welling, ICLR 2014)."""

import torch
from torch import Tensor


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw from the posterior by reparameterization, so that gradients pass through, [M, D]."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the Kullback-Leibler divergence of N(mean, variance) from N(0, 1), [M, D] -> [M]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
