"""Batches straight from the memory-mapped cache."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from mimii_pl.dataset._clip import Batch

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds


class ClipBatches(Dataset):
    """`[(row, first frame), ...] -> Batch` of int16 waveforms."""

    def __init__(self, data: "MachineSounds") -> None:
        self.waves, self.machine_id, self.anomalous = data.waves, data.machine_id, data.anomalous
        self.crop, self.features = data.crop, data.features

    def __getitem__(self, items: np.ndarray) -> Batch:
        rows, frames = items.T
        cropped = bool(frames[0] >= 0)
        waves = np.stack([self._cut(*item) for item in items]) if cropped else self.waves[rows]
        return Batch(
            wave=torch.from_numpy(waves),
            machine_id=torch.from_numpy(self.machine_id[rows]),
            anomalous=torch.from_numpy(self.anomalous[rows]),
            clip=torch.from_numpy(rows.copy()),
            frame=torch.from_numpy(frames.copy()) if cropped else None,
        )

    def _cut(self, row: int, frame: int) -> np.ndarray:
        """Samples under the crop's frames; past the ends of the clip they are reflected, as the features do."""
        start, length = self.features.span(frame, self.crop.frames)
        wave = self.waves[row]
        if start >= 0 and start + length <= len(wave):
            return wave[start : start + length]
        index = np.abs(np.arange(start, start + length))
        return wave[np.minimum(index, 2 * (len(wave) - 1) - index)]
