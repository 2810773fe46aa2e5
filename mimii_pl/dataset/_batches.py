"""Batches read straight from the memory-mapped cache."""

import numpy as np
import torch
from torch.utils.data import Dataset

from mimii_pl.dataset._cache import Waves
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.features._spectral import Spectral


class ClipBatches(Dataset):
    """Batches of int16 waveforms by `[(row, first frame), ...]`; first frame -1 is a whole clip.

    Args:
        waves: int16 [n_clips, T].
        machine_id: numbers of the machine IDs [n_clips].
        anomalous: [n_clips] 1 anomaly, 0 normal, -1 unknown.
        features: representation, for the samples under a frame.
        crop: crop that the detector requests; None: whole clips only.
    """

    def __init__(
        self, waves: Waves, machine_id: np.ndarray, anomalous: np.ndarray, features: Spectral, crop: Crop | None
    ) -> None:
        self.waves, self.machine_id, self.anomalous = waves, machine_id, anomalous
        self.features, self.crop = features, crop

    def __getitem__(self, items: np.ndarray) -> Batch:
        """Gather the clips, or crops of clips, of items [B, 2]."""
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
        """Cut the samples under the crop's frames; beyond the ends the clip is padded, as by the features."""
        assert self.crop is not None
        start, length = self.features.span(frame, self.crop.frames)
        wave = self.waves[row]
        if start >= 0 and start + length <= len(wave):
            return wave[start : start + length]
        index = np.arange(start, start + length)
        if self.features.padding == "zeros":
            return np.where((index >= 0) & (index < len(wave)), wave[index.clip(0, len(wave) - 1)], 0)
        index = np.abs(index)
        return wave[np.minimum(index, 2 * (len(wave) - 1) - index)]
