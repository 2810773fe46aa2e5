"""Statistics of the training clips, which normalize a representation."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from mimii_pl.dataset._audio import to_float
from mimii_pl.dataset._cache import Waves
from mimii_pl.features._spectral import Spectral, Statistics


def unnormalized_specs(
    features: Spectral, waves: Waves, rows: np.ndarray, *, batch_size: int, device: torch.device | str
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Represent whole clips batch by batch, before normalization.

    Args:
        waves: int16 [n_clips, T].
        rows: rows of the clips.

    Yields:
        Rows [B] of a batch and its representation [B, C, F, N].
    """
    features.to_device(device)
    for part in np.array_split(rows, math.ceil(len(rows) / batch_size)):
        yield part, features.transform(features.pad(to_float(waves[part], device)))


def per_clip(
    features: Spectral, specs: Iterable[tuple[np.ndarray, Tensor]], *, clips: int, device: torch.device | str
) -> Statistics:
    """Collect mean and standard deviation per clip and channel, each [clips, C, 1, 1]; 1 for clips without a spec."""
    table = torch.ones(2, clips, features.channels, 1, 1, device=device)
    for rows, spec in specs:
        table[:, rows] = torch.stack(features.clip_statistics(spec))
    return Statistics(table[0], table[1])
