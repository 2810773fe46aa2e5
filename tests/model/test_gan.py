"""Adversarial detectors: the search, its independence, both losses, the check for mode collapse."""

import logging

import pytest
import torch
from support import world

from mimii_pl.core.config import build
from mimii_pl.model.anogan import AnoGAN
from mimii_pl.model.f_anogan import FAnoGAN


@pytest.fixture
def anogan():
    torch.manual_seed(0)
    return AnoGAN((1, 32, 40), 2, latent=8, width=4, frames=24, search_lr=0.05, tolerance=-1.0, patience=10).eval()


@pytest.mark.slow
def test_the_search_finds_images_of_the_generator(anogan):
    own, strange = anogan.generate(3).detach(), 5 * torch.randn(3, 1, 32, 24)
    found = anogan.search(own, 400)
    assert found.max() < 0.1 * anogan.search(own, 1).min()
    assert found.max() < 0.1 * anogan.search(strange, 400).min()


def test_a_search_does_not_depend_on_the_others(anogan):
    crops = torch.randn(5, 1, 32, 24)
    together, alone = anogan.search(crops, 60), torch.cat([anogan.search(crop[None], 60) for crop in crops])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_flat_search_ends_early(anogan):
    calls = []
    distance = anogan.distance
    anogan.distance = lambda *given: calls.append(1) or distance(*given)
    anogan.hparams.tolerance = 0.999  # nothing improves that much
    anogan.search(torch.randn(2, 1, 32, 24), 200)
    assert len(calls) == 20  # the first check compares with infinity, the second ends it


def test_the_distance_weighs_residual_and_features(anogan):
    x, z = torch.randn(2, 1, 32, 24), torch.randn(2, 8)
    image = anogan.generator(z)
    residual = (x - image).abs().mean(dim=(1, 2, 3))
    features = (anogan.discriminator(x)[1] - anogan.discriminator(image)[1]).abs().mean(dim=1)
    for weight in (0.0, 0.1, 1.0):
        anogan.hparams.lambda_ = weight
        expected = (1 - weight) * residual + weight * features
        torch.testing.assert_close(anogan.distance(x, anogan.discriminator(x)[1], z), expected)


def test_searching_leaves_the_networks_as_they_were(anogan):
    before = {name: value.clone() for name, value in anogan.state_dict().items()}
    anogan.train()
    with torch.inference_mode():
        anogan.search(torch.randn(2, 1, 32, 24), 5)
    assert anogan.training
    assert all(p.requires_grad and p.grad is None for p in anogan.parameters())
    assert all(torch.equal(value, before[name]) for name, value in anogan.state_dict().items())


def test_images_of_any_size_are_generated():
    for size in ((64, 64), (33, 17), (128, 20)):
        model = FAnoGAN((1, *size), 2, latent=8, width=4, frames=size[1])
        assert model.generate(2).shape == (2, 1, *size)
        assert model.crop_scores(torch.randn(2, 1, *size)).shape == (2,)


def fit(tmp_path, name, *overrides):
    root = world.write(tmp_path / "world", train=8, test=1)
    cfg = world.configured(root, f"model={name}", f"run_dir={tmp_path}", "training.epochs=3", *overrides)
    data = world.data_of(cfg)
    model = build(cfg.model, data.in_shape, 2)
    data.crop = model.crop
    data.fit_features()
    trainer = build(cfg.trainer)
    trainer.fit(model, data)
    return trainer, model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*number of training batches")
def test_the_losses_of_all_sides_are_logged_and_all_sides_learn(tmp_path):
    torch.manual_seed(0)
    trainer, _ = fit(tmp_path, "f_anogan")
    history = (tmp_path / "history.csv").read_text()
    for name in ("train/discriminator", "train/generator", "train/encoder", "train/spread", "val/loss"):
        assert history.count(name) == 3
    assert trainer.global_step == 9  # three sides, one step each of three epochs


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*number of training batches")
def test_a_collapsed_generator_is_reported(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(FAnoGAN, "generate", lambda self, count: self.generator(torch.zeros(count, 100)))
    with caplog.at_level(logging.WARNING, logger="mimii_pl"):
        fit(tmp_path, "f_anogan")
    assert "the generator has collapsed" in caplog.text
