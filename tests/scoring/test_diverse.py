"""Pseudo-anomalies among embeddings, by back ends and embeddings that are known to hear them or not."""

import numpy as np
import pytest

from mimii_pl.backend._backend import assign_folds
from mimii_pl.backend.knn import KNN
from mimii_pl.scoring.diverse import Embedded, diverse_auc, mean_diverse_auc, shuffled_features


def embedded(x, ids, **groups):
    return Embedded(np.asarray(x, np.float32), np.asarray(ids), {name: np.array(own) for name, own in groups.items()})


def curve(rng, count, centre):
    """Embeddings on a line: their features go together, so that shuffled features leave it."""
    place = rng.uniform(-1, 1, (count, 1))
    return centre + place * np.ones((1, 8)) + 0.01 * rng.standard_normal((count, 8))


def test_shuffled_features_have_the_values_of_each_feature_and_not_their_order():
    x = np.arange(12.0).reshape(6, 2) + np.array([0, 100])
    made = shuffled_features(x, 50, np.random.default_rng(0))
    assert made.shape == (50, 2)
    assert set(made[:, 0]) == set(x[:, 0])
    assert set(made[:, 1]) == set(x[:, 1])
    assert not {tuple(row) for row in made} <= {tuple(row) for row in x}
    assert shuffled_features(x.reshape(3, 2, 2), 4, np.random.default_rng(0)).shape == (4, 2, 2)


def test_far_machines_on_lines_are_told_apart_and_like_ones_are_not():
    rng, ids = np.random.default_rng(0), np.repeat([0, 1], 200)
    held = np.arange(400) % 4 == 0
    apart = embedded(np.concatenate([curve(rng, 200, 0), curve(rng, 200, 50)]), ids)
    alike = embedded(rng.standard_normal((400, 8)), ids)
    values = []
    for data in (apart, alike):
        backend = KNN(metric="euclidean")
        bank = data.of(~held)
        backend.fit(bank.x, bank.ids)
        values.append(diverse_auc(backend, bank, data.of(held)))
    assert values[0] > 0.99
    assert values[1] == pytest.approx(0.5, abs=0.08)  # independent features, one machine twice


def test_another_domain_counts_where_it_sounds_different():
    rng = np.random.default_rng(0)
    domain = np.tile(["source"] * 3 + ["target"], 50)
    x = rng.standard_normal((200, 4)) + 30 * (domain == "target")[:, None] * np.array([1, 0, 0, 0])
    whole, held = embedded(x, np.zeros(200), domain=domain), np.arange(200) % 5 == 0
    backend = KNN(metric="euclidean")
    bank = whole.of(~held)
    backend.fit(bank.x, bank.ids)
    with_domains = diverse_auc(backend, bank, whole.of(held))
    without = diverse_auc(backend, bank._replace(groups={}), whole.of(held)._replace(groups={}))
    assert with_domains > without + 0.1
    assert set(backend.parts) == {-1, 0}
    assert len(backend.parts[0]["bank"]) == 160  # the back end itself is left alone


def test_folds_hold_out_every_clip_once_with_clips_of_its_machine_left():
    ids = np.array([0] * 7 + [1] * 12)
    fold = assign_folds(ids)
    parts = [[np.flatnonzero(fold != number), np.flatnonzero(fold == number)] for number in range(5)]
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(19))
    for fitted, held in parts:
        assert not set(fitted) & set(held)
        assert set(ids[fitted]) == {0, 1}
    value = mean_diverse_auc(KNN(), embedded(np.random.default_rng(0).standard_normal((19, 3)), ids), parts)
    assert 0 <= value <= 1
