"""Outlier exposure: which clips are outliers of which machine ID, their weights, windows, scores."""

import pytest
import torch
import torch.nn.functional as F

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model.outlier_exposure import OutlierExposure

LABELS = ["ToyCar/id_01", "ToyCar/id_02", "fan/id_00", "fan/id_02", "pump/id_00"]
SHARE = torch.tensor([0.4, 0.1, 0.2, 0.2, 0.1])


def batch(ids, frames=64, seed=0):
    ids = torch.tensor(ids)
    spec = torch.randn(len(ids), 1, 32, frames, generator=torch.Generator().manual_seed(seed))
    return Batch(torch.zeros(len(ids), 8), ids, torch.full_like(ids, -1), ids, spec)


def test_machines_recorded_apart_are_no_outliers_of_one_another():
    model = OutlierExposure((1, 32, 64), 5)
    model.expose(LABELS, SHARE)
    assert model.outlier.tolist() == [
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 1, 0, 1],
        [0, 0, 1, 1, 0],
    ]


def test_a_machine_without_outliers_is_named():
    model = OutlierExposure((1, 32, 64), 4, apart=["pump"])
    with pytest.raises(InputError, match=r"model.apart=\['pump'\].*same way as pump/id_00"):
        model.expose(LABELS[1:], SHARE[1:])


def test_own_clips_and_outliers_count_equally():
    """Over clips in the shares of the IDs, the loss is the mean of both classes' cross entropies, for every ID."""
    model = OutlierExposure((1, 32, 64), 5).eval()
    model.expose(LABELS, SHARE)
    clips = batch([0] * 4 + [1] + [2] * 2 + [3] * 2 + [4])
    logits, number = model.logits(clips)[:, 0], clips.machine_id
    losses = []
    for k in range(5):
        outliers = model.outlier[k, number] == 1
        own = F.binary_cross_entropy_with_logits(logits[number == k, k], torch.zeros(int((number == k).sum())))
        other = F.binary_cross_entropy_with_logits(logits[outliers, k], torch.ones(int(outliers.sum())))
        losses.append((own + other) / 2)
    torch.testing.assert_close(model.loss(clips), sum(losses) / 5)


def test_the_score_is_the_mean_logit_of_the_own_machine_over_windows():
    model, clips = OutlierExposure((1, 32, 128), 3, frames=64, window_hop=64).eval(), batch([0, 2, -1], 128)
    halves = [model.logits(clips._replace(spec=part)).mean(dim=1) for part in clips.spec.split(64, dim=3)]
    logits = (halves[0] + halves[1]) / 2
    torch.testing.assert_close(model.score(clips), torch.stack([logits[0, 0], logits[1, 2], logits[2].min()]))


def test_a_clip_is_taken_for_the_machine_with_the_lowest_logit():
    model, clips = OutlierExposure((1, 32, 64), 3).eval(), batch([0, 1, 2])
    assert torch.equal(model.classify(clips).argmax(dim=1), model.logits(clips)[:, 0].argmin(dim=1))


def test_one_machine_has_no_outliers():
    with pytest.raises(InputError, match=r"model=outlier_exposure.*one ID only"):
        OutlierExposure((1, 32, 64), 1)
