"""Representation [B, C, F, N] -> the same, varied, in training only: one module per augmentation.

An augmentation is a `torch.nn.Module` that takes a `Batch` and returns it with another `spec` (and `target`).
"""

from mimii_pl.dataset._clip import Batch

__all__ = ["Batch"]
