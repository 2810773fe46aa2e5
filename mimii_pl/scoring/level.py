"""Level alone as an anomaly score: the column that every table of results has beside a detector's own."""

from collections.abc import Sequence

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE

CHUNK_CLIPS = 64  # clips in memory at a time


def decibels(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Level of clips int16 [N, T] relative to full scale, [N] in dB; read slice by slice."""
    parts = [
        10 * np.log10(np.square(np.asarray(waves[at : at + CHUNK_CLIPS], np.float32) / FULL_SCALE).mean(axis=1) + 1e-10)
        for at in range(0, len(waves), CHUNK_CLIPS)
    ]
    return np.concatenate([np.empty(0), *parts])


def level_scores(
    train: Sequence[np.ndarray], train_ids: np.ndarray, test: Sequence[np.ndarray], test_ids: np.ndarray
) -> np.ndarray:
    """Distance of each test clip's level from the median level of its machine ID's training clips, [N] in dB.

    A machine ID not heard in training is compared with all of them. `model=level` is the same as a detector.
    """
    normal, level = decibels(train), decibels(test)
    median = {id_: np.median(normal[train_ids == id_]) for id_ in np.unique(train_ids)}
    return np.abs(level - np.array([median.get(id_, np.median(normal)) for id_ in test_ids]))
