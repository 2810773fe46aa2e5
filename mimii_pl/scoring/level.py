"""The level of a clip as an anomaly score: the baseline that every table of results shows next to the detector."""

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.dataset._cache import ClipRows

CHUNK_CLIPS = 64  # clips in memory at a time
WaveArray = np.ndarray | ClipRows  # int16 [N, T]


def decibels(waves: WaveArray) -> np.ndarray:
    """Return the level of clips int16 [N, T] relative to full scale, [N] in dB; they are read slice by slice."""
    parts = [
        10 * np.log10(np.square(np.asarray(waves[at : at + CHUNK_CLIPS], np.float32) / FULL_SCALE).mean(axis=1) + 1e-10)
        for at in range(0, len(waves), CHUNK_CLIPS)
    ]
    return np.concatenate([np.empty(0), *parts])


def level_scores(train: WaveArray, train_ids: np.ndarray, test: WaveArray, test_ids: np.ndarray) -> np.ndarray:
    """Return the distance of each test clip from the median level of its machine ID's training clips, [N] in dB.

    Clips of a machine ID that was not seen in training are compared with all training clips. `model=level` is the same
    as a detector.
    """
    normal, level = decibels(train), decibels(test)
    median = {id_: np.median(normal[train_ids == id_]) for id_ in np.unique(train_ids)}
    return np.abs(level - np.array([median.get(id_, np.median(normal)) for id_ in test_ids]))
