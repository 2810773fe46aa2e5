"""Detectors without weights: the statistics they collect."""

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model.level import Level
from mimii_pl.model.spectrum import Spectrum


def batch(wave, ids, spec=None):
    ids = torch.tensor(ids)
    return Batch(wave, ids, ids, ids, spec)


def tone(*decibels):
    time = torch.arange(1600) / 16000
    return torch.stack([10 ** (level / 20) * 2**0.5 * torch.sin(2 * np.pi * 100 * time) for level in decibels])


def test_level_is_the_distance_from_the_median_of_the_own_id_in_db():
    model = Level((1, 8, 8), 2)
    model.observe(batch(tone(-20, -22, -24), [0, 0, 0]))
    model.observe(batch(tone(-40), [1]))
    model.finish_fit()
    scores = model.score(batch(tone(-20, -20, -22), [0, 1, -1]))
    np.testing.assert_allclose(scores, [2, 20, 2], atol=0.01)  # for an unseen ID the median over all, -24
    assert model.uses_machine_id


def test_level_against_all_ids():
    model = Level((1, 8, 8), 2, per_id=False)
    model.observe(batch(tone(-20, -30, -40), [0, 0, 1]))
    model.finish_fit()
    np.testing.assert_allclose(model.score(batch(tone(-20, -40), [0, 1])), [10, 10], atol=0.01)
    assert not model.uses_machine_id


def test_spectrum_gives_amplitudes_or_decibels_of_windows():
    spec = torch.randn(2, 1, 3, 6)
    amplitude = Spectrum((1, 3, 6), 2, scale="amplitude").embed(batch(None, [0, 0], spec))
    torch.testing.assert_close(amplitude, 10 ** (spec[:, 0].transpose(1, 2) / 20))
    windows = Spectrum((1, 3, 6), 2, frames=2, scale="db").embed(batch(None, [0, 0], spec))
    assert windows.shape == (2, 5, 6)
    torch.testing.assert_close(windows[:, 1], torch.cat([spec[:, 0, :, 1], spec[:, 0, :, 2]], dim=1))
    with pytest.raises(InputError, match="one channel"):
        Spectrum((2, 3, 6), 2)


def test_spectrum_scores_in_standard_deviations():
    model, spec = Spectrum((1, 3, 6), 2, scale="db"), 5 + 2 * torch.randn(200, 1, 3, 6)
    for part in spec.split(50):
        model.observe(batch(None, [0] * 50, part))
    model.finish_fit()
    torch.testing.assert_close(model.mean, spec.mean(dim=(0, 1, 3)), rtol=1e-5, atol=1e-5)
    assert model.score(batch(None, [0] * 200, spec)).mean().item() == pytest.approx(1, rel=1e-3)
    assert model.score(batch(None, [0], torch.full((1, 1, 3, 6), 11.0))).item() == pytest.approx(9, rel=0.2)


def test_a_configuration_says_whether_anything_is_trained():
    from mimii_pl.core.config import is_trained

    names = ("spectrum", "committee", "dense_ae", "svm")
    trained = {name: is_trained(world.composed(f"model={name}")) for name in names}
    assert trained == {"spectrum": False, "committee": False, "dense_ae": True, "svm": True}
