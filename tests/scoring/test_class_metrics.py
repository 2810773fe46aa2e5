"""Metrics of classifiers against second implementations."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, classification_report, roc_auc_score
from torchmetrics.classification import MulticlassCalibrationError

from mimii_pl.scoring.class_metrics import confusion_matrix, of_classes, overall, reliability


def example(seed, n=200, k=4, sharp=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + sharp * np.eye(k)[labels] * rng.random((n, 1))
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_they_agree_with_scikit_learn(seed):
    labels, probability = example(seed)
    found = overall(labels, probability)
    expected = classification_report(labels, probability.argmax(axis=1), output_dict=True)
    assert found["accuracy"] == pytest.approx(expected["accuracy"])
    for name, other in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert found[f"{name}_macro"] == pytest.approx(expected["macro avg"][other])
        assert found[f"{name}_weighted"] == pytest.approx(expected["weighted avg"][other])
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probability.argmax(axis=1)))
    assert found["auc_macro"] == pytest.approx(roc_auc_score(labels, probability, multi_class="ovr"))
    assert [one["n"] for one in of_classes(labels, probability)] == np.bincount(labels).tolist()
    assert confusion_matrix(labels, probability).diagonal().sum() == pytest.approx(found["accuracy"] * 200)


@pytest.mark.parametrize("bins", [1, 5, 15])
@pytest.mark.parametrize("sharp", [0.0, 2.0, 9.0])
def test_the_calibration_error_agrees_with_torchmetrics(sharp, bins):
    labels, probability = example(7, n=400, sharp=sharp)
    measured = MulticlassCalibrationError(probability.shape[1], n_bins=bins, norm="l1")
    expected = measured(torch.from_numpy(probability), torch.from_numpy(labels)).item()
    assert reliability(labels, probability, bins).error == pytest.approx(expected, abs=1e-5)


def test_reliability_by_hand():
    probability = np.array([[0.9, 0.1], [0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    found = reliability(np.array([0, 1, 0, 1]), probability, bins=10)
    assert found.clips.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 2, 0]
    assert found.accuracy[8] == 0.5
    assert found.error == pytest.approx((2 * 0.4 + 0.3 + 0.4) / 4)


def test_a_class_without_clips_does_not_count_and_no_clips_are_undefined():
    labels, probability = example(1)
    labels = labels % 3
    assert math.isnan(of_classes(labels, probability)[3]["auc"])
    recalls = [one["recall"] for one in of_classes(labels, probability)[:3]]
    assert overall(labels, probability)["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    none = overall(labels[:0], probability[:0])
    assert none.pop("n") == 0
    assert all(math.isnan(value) for value in none.values())
