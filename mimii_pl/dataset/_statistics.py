"""Statistics of the training clips, which normalize a representation."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from mimii_pl.dataset._audio import to_float
from mimii_pl.dataset._cache import Waves
from mimii_pl.features._spectral import Spectral, Statistics

KEPT_BYTES = 2**30  # of representations in memory, at most: those of 6,700 clips of 10 s as log-mel spectra


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


def kept_specs(
    features: Spectral, specs: Iterable[tuple[np.ndarray, Tensor]], *, clips: int, shape: tuple[int, int, int]
) -> Tensor | None:
    """Normalize representations and keep them in memory; None if that takes more than `KEPT_BYTES`.

    Args:
        specs: of whole clips, not yet normalized, from `unnormalized_specs`.
        clips: their number.
        shape: (C, F, N) of one.

    Returns:
        [clips, N, C, F], on the CPU: frames are what is cut.
    """
    channels, bins, frames = shape
    if 4 * clips * channels * bins * frames > KEPT_BYTES:
        return None
    kept, at = torch.empty(clips, frames, channels, bins), 0
    for rows, spec in specs:
        kept[at : at + len(rows)] = features.normalized(spec).permute(0, 3, 1, 2).cpu()
        at += len(rows)
    return kept
