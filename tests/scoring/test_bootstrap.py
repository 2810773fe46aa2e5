"""The paired bootstrap: its AUC is scikit-learn's on every resample, and its intervals say what they should."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mimii_pl.scoring.bootstrap import interval, resampled_auc, weighted_auc


@pytest.mark.parametrize("levels", [None, 4])
def test_the_auc_of_every_resample_is_scikit_learns(levels):
    rng = np.random.default_rng(0)
    normal, anomalous = 1e4 + rng.normal(size=23), 1e4 + rng.normal(0.7, size=11)
    if levels:  # many ties, within classes and across them
        normal, anomalous = np.round(normal), np.round(anomalous)
        normal[0], anomalous[0] = np.inf, np.inf
    of_normal, of_anomalous = rng.multinomial(23, [1 / 23] * 23, 20), rng.multinomial(11, [1 / 11] * 11, 20)
    found = weighted_auc(normal, anomalous, of_normal, of_anomalous)
    for value, n, m in zip(found, of_normal, of_anomalous, strict=True):
        scores = np.unique(np.concatenate([np.repeat(normal, n), np.repeat(anomalous, m)]), return_inverse=True)[1]
        assert value == pytest.approx(roc_auc_score([0] * 23 + [1] * 11, scores), abs=1e-12)


def clips(rng, ids=("id_00", "id_02"), each=40):
    labels = np.tile(np.repeat([0, 1], each), len(ids))
    return labels, ["fan"] * len(labels), np.repeat(ids, 2 * each)


def test_mean_over_ids_and_types_and_ids_with_one_class_are_left_out():
    rng = np.random.default_rng(1)
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 1])
    machine = ["fan"] * 6 + ["pump"] * 2
    machine_id = ["id_00"] * 2 + ["id_02"] * 2 + ["id_04"] * 2 + ["id_00"] * 2
    scores = np.array([[0, 1, 1, 0, 5, 5, 0, 1.0]])  # 1, 0, undefined | 1
    found = resampled_auc(labels, machine, machine_id, scores, 5, seed=0)
    assert found == pytest.approx(np.full((1, 6), 0.75))  # one clip of each class: every resample is the same
    assert np.isnan(resampled_auc([0, 0], ["fan"] * 2, ["id_00"] * 2, rng.normal(size=(1, 2)), 3, seed=0)).all()


def test_a_detector_is_no_better_than_itself_and_a_good_one_is_better():
    rng = np.random.default_rng(2)
    labels, machine, machine_id = clips(rng)
    good = labels * 2.0 + rng.normal(size=len(labels))
    poor = labels * 0.2 + rng.normal(size=len(labels))
    scores = np.stack([good, good, poor, 3 * good + 7])
    found = resampled_auc(labels, machine, machine_id, scores, 300, seed=0)
    assert interval(found[0], found[1]) == (0, 0, 0)
    assert not interval(found[0], found[3]).is_clear  # AUC knows ranks only
    clear = interval(found[0], found[2])
    assert clear.is_clear
    assert clear.low < clear.difference < clear.high
    of_ids = [roc_auc_score(labels[machine_id == one], good[machine_id == one]) for one in ("id_00", "id_02")]
    assert found[0, 0] == pytest.approx(np.mean(of_ids))
    assert (resampled_auc(labels, machine, machine_id, scores, 300, seed=0) == found).all()


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for trial in range(60):
        labels, machine, machine_id = clips(rng)
        shared = rng.normal(size=len(labels))
        scores = np.stack([labels + shared + 0.5 * rng.normal(size=len(labels)) for _ in range(2)])  # equally good
        found = resampled_auc(labels, machine, machine_id, scores, 200, seed=trial)
        held += not interval(found[0], found[1]).is_clear
    assert 50 <= held <= 60
