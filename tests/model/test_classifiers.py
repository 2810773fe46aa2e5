"""Classifiers: sizes, class weights, probabilities, storage."""

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.core.config import build, compose
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model.mobilenet_v2 import MobileNetV2
from mimii_pl.model.random_forest import RandomForest
from mimii_pl.model.simple_classifier import SimpleClassifier
from mimii_pl.model.ss_classifier import SSClassifier
from mimii_pl.model.svm import SVM

SHAPE = (1, 64, 20)


def size(model):
    return sum(p.numel() for p in model.parameters())


def batch(clips=4, seed=0, shift=0.0, target=None):
    spec = torch.randn(clips, *SHAPE, generator=torch.Generator().manual_seed(seed)) + shift
    ids = torch.arange(clips) % 2
    return Batch(torch.zeros(clips, 8), ids, torch.full((clips,), -1), torch.arange(clips), spec, target)


def test_sizes_are_those_of_the_source_document():
    """The document has 22,657 and 16,193 with one output; two classes need one more."""
    assert size(SimpleClassifier(SHAPE, 2)) == 22_657 + 33
    assert size(SSClassifier(SHAPE, 2)) == 16_193 + 17


def test_mobilenet_has_the_parameters_of_the_published_network():
    """3,504,872 at width 1 for 1000 classes of 3-channel images; the first convolution has one channel here."""
    assert size(MobileNetV2((1, 128, 64), 1000, width=1.0)) == 3_504_872 - 2 * 32 * 9


def test_rare_classes_weigh_as_much_as_frequent_ones(tmp_path):
    root = world.write(tmp_path / "world", train=10, test=5)
    cfg = world.configured(root, "model=simple_classifier", "task=classification")
    data = world.data_of(cfg)
    counts = np.bincount(data.label[data.rows("train")])
    np.testing.assert_allclose(data.class_weights().numpy() * counts, counts.sum() / 2, rtol=1e-6)
    assert counts[0] > counts[1]


def test_weights_are_part_of_the_loss():
    model = SimpleClassifier(SHAPE, 2).eval()
    of_class = [model.loss(batch(target=torch.eye(2)[[n] * 4])) for n in (0, 1)]
    model.weight.copy_(torch.tensor([0.5, 3.0]))
    weighted = [model.loss(batch(target=torch.eye(2)[[n] * 4])) for n in (0, 1)]
    torch.testing.assert_close(weighted, [0.5 * of_class[0], 3 * of_class[1]])


def test_a_clip_is_the_mean_of_its_windows():
    model = SimpleClassifier(SHAPE, 3).eval()
    windows = model.head(model.encoder(model.windows(batch()).flatten(0, 1))).softmax(dim=1)
    torch.testing.assert_close(model.classify(batch()), windows.unflatten(0, (4, -1)).mean(dim=1))


@pytest.mark.parametrize("name", ["deep_classifier", "random_forest", "svm"])
def test_one_class_is_explained(name):
    with pytest.raises(InputError, match=r"one ID only.*task=classification"):
        build(compose([f"model={name}"]).model, SHAPE, 1)


@pytest.mark.parametrize("model", [RandomForest(SHAPE, 2, trees=10), SVM(SHAPE, 2, limit=200)], ids=["forest", "svm"])
def test_estimators_learn_in_one_pass_and_are_stored_without_pickle(model, tmp_path):
    target = torch.eye(2)[[0, 1]].repeat(8, 1)
    clips = batch(16, target=target)
    clips = clips._replace(spec=clips.spec + 0.5 * target[:, 1, None, None, None])
    model.observe(clips)
    model.finish_fit()
    shares = model.classify(clips)
    assert (shares.argmax(dim=1) == target.argmax(dim=1)).float().mean() > 0.9
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = type(model)(SHAPE, 2)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(again.classify(clips), shares)


def test_an_estimator_of_untrusted_types_is_not_loaded(monkeypatch):
    model = RandomForest(SHAPE, 2, trees=2)
    model.observe(batch(8))
    model.finish_fit()
    monkeypatch.setattr("skops.io.get_untrusted_types", lambda data: ["os.system"])
    with pytest.raises(InputError, match=r"os.system: not loaded"):
        model.classify(batch())
