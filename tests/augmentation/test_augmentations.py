"""Augmentations: contract over conf/augmentation, and what each of them does."""

import pytest
import torch
from support import world

from mimii_pl.core.config import CONF, build
from mimii_pl.dataset._clip import Batch

NAMES = sorted(file.stem for file in CONF.joinpath("augmentation").glob("[!_]*.yaml") if file.stem != "none")


def make(name, **options):
    overrides = [f"augmentation.{name}.{key}={value}" for key, value in options.items()]
    return build(world.composed(f"augmentation={name}", *overrides).augmentation)[name]


def batch(clips=64, bins=40, frames=7):
    torch.manual_seed(0)
    spec, ids = torch.randn(clips, 2, bins, frames) + 3, torch.arange(clips) % 4
    return Batch(spec[:, 0, 0], ids, ids, ids, spec, torch.nn.functional.one_hot(ids, 4).float())


@pytest.mark.parametrize("name", NAMES)
def test_shapes_stay_and_probability_counts(name):
    before = batch()
    after = make(name, p=1)(before)
    assert after.spec.shape == before.spec.shape
    assert after.spec.dtype == torch.float32
    assert torch.equal(make(name, p=0)(before).spec, before.spec)
    changed = (make(name, p=0.5)(before).spec != before.spec).flatten(1).any(dim=1).float().mean()
    assert 0.15 < changed < 0.75
    assert torch.allclose(after.target.sum(dim=1), torch.ones(64))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_random_numbers_give_the_same_batch(name):
    augment, before = make(name, p=1), batch()
    torch.manual_seed(1)
    once = augment(before).spec
    torch.manual_seed(1)
    assert torch.equal(augment(before).spec, once)
    assert not torch.equal(augment(before).spec, once)


def test_bands_are_attenuated_whole():
    before = batch()
    gain = make("band_mask", p=1, max_bands=1)(before).spec / before.spec
    assert torch.allclose(gain, gain[:, :1, :, :1].expand_as(gain), rtol=1e-4)
    profile = gain[:, 0, :, 0]
    masked = profile < 0.99
    assert ((masked.sum(dim=1) >= 2) & (masked.sum(dim=1) <= 8)).all()
    assert profile[masked].min() >= 0.0999
    assert profile[masked].max() <= 0.3001
    edges = masked.int().diff(dim=1, prepend=torch.zeros(64, 1), append=torch.zeros(64, 1))
    assert (edges.abs().sum(dim=1) == 2).all()


def test_frequencies_are_shifted_by_a_few_bins():
    before = batch()
    after = make("frequency_shift", p=1).forward(before)
    found = set()
    for old, new in zip(before.spec, after.spec, strict=True):
        shift = [s for s in range(-2, 3) if torch.equal(old.roll(s, dims=1), new)]
        assert len(shift) == 1
        found.update(shift)
    assert found == {-2, -1, 0, 1, 2}


def test_noise_is_at_the_level_asked_for():
    before = batch(bins=300, frames=50)
    noise = make("noise", p=1)(before).spec - before.spec
    level = noise.std(dim=(1, 2, 3)) / before.spec.square().mean(dim=(1, 2, 3)).sqrt()
    assert level.min() > 0.009
    assert level.max() < 0.051
    assert level.std() > 0.005


@pytest.mark.parametrize("parts", [2, 3])
def test_mixed_targets_are_the_shares_of_what_is_heard(parts):
    ids = torch.arange(4)
    known = torch.eye(4).view(4, 1, 4, 1)  # each clip is its own bin, so a sum shows its weights
    before = Batch(torch.eye(4), ids, ids, ids, known, torch.eye(4))
    mixup = make("mixup", p=1, alpha=1, parts=parts)
    for _ in range(20):
        after = mixup(before)
        torch.testing.assert_close(after.spec[:, 0, :, 0], after.target)
        torch.testing.assert_close(after.wave, after.target)
    assert (after.target > 0).sum() > 4


def test_uniform_mixup_draws_every_weight_equally_often():
    torch.manual_seed(0)
    ids, known = torch.arange(2000), torch.zeros(2000, 1, 1, 1)
    before = Batch(torch.zeros(2000, 1), ids, ids, ids, known, torch.eye(2000))
    own = make("mixup_uniform")(before).target.diagonal()
    mixed = own[own < 1]
    assert 0.45 < len(mixed) / 2000 < 0.55
    shares = torch.histc(mixed, 10, 0, 1) / len(mixed)
    assert (shares - 0.1).abs().max() < 0.03
