"""The level alone: its figures, and that the detector of that name says the same."""

import numpy as np
import torch

from mimii_pl.dataset._clip import Batch
from mimii_pl.model.level import Level
from mimii_pl.scoring.level import decibels, level_scores


def noise(*levels, seed=0):
    """Clips int16 [N, 4000] at these levels in dB."""
    wave = np.random.default_rng(seed).standard_normal((len(levels), 4000))
    wave *= 10 ** (np.array(levels)[:, None] / 20) / np.sqrt((wave**2).mean(axis=1, keepdims=True))
    return np.rint(wave * 32768).astype(np.int16)


def test_decibels_of_many_clips():
    levels = -20 - np.arange(150) / 10
    np.testing.assert_allclose(decibels(noise(*levels)), levels, atol=0.01)
    np.testing.assert_allclose(decibels(np.zeros((1, 100), np.int16)), -100, atol=1e-3)
    assert len(decibels(np.empty((0, 100), np.int16))) == 0


def test_distance_from_the_median_of_the_own_id():
    scores = level_scores(
        noise(-20, -22, -30, -40), np.array([0, 0, 0, 1]), noise(-20, -28, -20, -26), np.array([0, 0, 1, -1])
    )
    np.testing.assert_allclose(scores, [2, 6, 20, 0], atol=0.02)  # louder and quieter are equally far


def test_the_detector_of_that_name_says_the_same():
    train, ids = noise(-20, -22, -30, -40, -44, -50), np.array([0, 0, 0, 1, 1, 1])
    test = noise(-20, -20, -33, seed=1)

    def batch(waves, ids):
        ids = torch.from_numpy(np.array(ids))
        return Batch(torch.from_numpy(waves / 32768).float(), ids, ids, ids)

    model = Level((1, 8, 8), 2)
    model.observe(batch(train, ids))
    model.finish_fit()
    np.testing.assert_allclose(
        model.score(batch(test, [0, 1, 1])), level_scores(train, ids, test, np.array([0, 1, 1])), atol=1e-3
    )
