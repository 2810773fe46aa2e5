"""Batches: of waveforms, read straight from the memory-mapped cache, or of representations kept in memory."""

import numpy as np
import torch
from torch import Tensor
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


class SpecBatches(Dataset):
    """Batches of crops of representations, without their waveforms, by `[(row, first frame), ...]`.

    Args:
        specs: [M, N, C, F] of some clips, from `kept_specs` of `_statistics`.
        rows: of these clips in the audio cache, [M].
        machine_id, anomalous: as of `ClipBatches`.
        crop: that the detector requests; None: whole clips.
    """

    def __init__(
        self, specs: Tensor, rows: np.ndarray, machine_id: np.ndarray, anomalous: np.ndarray, crop: Crop | None
    ) -> None:
        self.specs, self.machine_id, self.anomalous, self.crop = specs, machine_id, anomalous, crop
        self.place = np.full(len(machine_id), -1)
        self.place[rows] = np.arange(len(rows))

    def __getitem__(self, items: np.ndarray) -> Batch:
        """Gather the crops of items [B, 2], or the whole clips."""
        rows, frames = items.T
        places = torch.from_numpy(self.place[rows])
        if self.crop is None:
            spec = self.specs[places]
        else:
            within = torch.from_numpy(frames)[:, None] + torch.arange(self.crop.frames)
            spec = self.specs[places[:, None], within]  # [B, N, C, F]
        return Batch(
            wave=torch.empty(len(rows), 0),
            machine_id=torch.from_numpy(self.machine_id[rows]),
            anomalous=torch.from_numpy(self.anomalous[rows]),
            clip=torch.from_numpy(rows.copy()),
            spec=spec.permute(0, 2, 3, 1),
            frame=None if self.crop is None else torch.from_numpy(frames.copy()),
        )
