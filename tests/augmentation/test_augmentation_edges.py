"""Augmentations clip by clip: independent of each other, identity where they are off."""

import pytest
import torch
from hydra.utils import get_class

from mimii_pl.dataset._clip import Batch

TARGETS = {
    "band_mask": "band_mask.BandMask",
    "frequency_shift": "frequency_shift.FrequencyShift",
    "mixup": "mixup.MixUp",
    "noise": "noise.Noise",
}


def build(name, **options):
    return get_class(f"mimii_pl.augmentation.{TARGETS[name]}")(**options)


@pytest.fixture
def batch():
    """Copies of one clip, of 16 machine IDs: whatever differs afterwards was drawn clip by clip."""
    torch.manual_seed(0)
    spec = (torch.randn(1, 2, 60, 7) + 3).expand(64, -1, -1, -1).clone()
    ids = torch.arange(64) % 16
    return Batch(torch.randn(64, 100), ids, -ids, ids, spec, torch.eye(16)[ids], ids)


@pytest.mark.parametrize("name", TARGETS)
def test_only_what_is_heard_and_target_change_and_never_in_place(name, batch):
    wave, spec, target = batch.wave.clone(), batch.spec.clone(), batch.target.clone()
    after = build(name, p=1)(batch)
    assert torch.equal(batch.wave, wave)
    assert torch.equal(batch.spec, spec)
    assert torch.equal(batch.target, target)
    assert torch.equal(after.wave, wave) == (name != "mixup")
    for field in ("machine_id", "anomalous", "clip", "frame"):
        assert getattr(after, field) is getattr(batch, field)
    assert (after.spec.dtype, after.target.dtype, after.target.shape) == (spec.dtype, target.dtype, target.shape)


@pytest.mark.parametrize("name", TARGETS)
def test_probability_zero_is_identity(name, batch):
    after = build(name, p=0)(batch)
    assert torch.equal(after.spec, batch.spec)
    assert torch.equal(after.target, batch.target)


@pytest.mark.parametrize("name", ["band_mask", "noise"])
def test_probability_one_changes_every_clip(name, batch):
    assert (build(name, p=1)(batch).spec != batch.spec).flatten(1).any(dim=1).all()


@pytest.mark.parametrize(("name", "ways"), [("band_mask", 60), ("noise", 60), ("frequency_shift", 5)])
def test_each_clip_is_changed_in_its_own_way(name, ways, batch):
    assert len(build(name, p=1)(batch).spec.unique(dim=0)) >= ways


def test_each_mixed_clip_has_weights_and_a_partner_of_its_own(batch):
    spec = torch.eye(64).view(64, 1, 64, 1)
    mixed = build("mixup", p=1, alpha=1)(batch._replace(spec=spec, target=torch.eye(64))).target
    own = mixed.diagonal()
    assert len(own.unique()) > 55
    assert len((mixed - torch.diag(own)).argmax(dim=1).unique()) > 55
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(64))


def test_noise_is_drawn_clip_by_clip(batch):
    noise = (build("noise", p=1)(batch).spec - batch.spec).flatten(1)
    correlation = torch.corrcoef(noise) - torch.eye(64)
    assert correlation.abs().max() < 0.3


@pytest.mark.parametrize("p", [0.2, 0.8])
@pytest.mark.parametrize("name", ["band_mask", "noise"])
def test_probability_is_per_clip(name, p, batch):
    many = batch._replace(spec=batch.spec.repeat(30, 1, 1, 1))
    changed = (build(name, p=p)(many).spec != many.spec).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(p, abs=0.05)


def test_bands_reach_the_lowest_and_the_highest_bin(batch):
    many = batch._replace(spec=batch.spec.repeat(30, 1, 1, 1))
    masked = (build("band_mask", p=1)(many).spec != many.spec).any(dim=0)[0, :, 0]
    assert masked.all()


def test_a_band_wider_than_the_spectrum_masks_all_of_it(batch):
    few = batch._replace(spec=batch.spec[:, :, :3])
    gain = build("band_mask", p=1, max_bands=1, min_width=8)(few).spec / few.spec
    assert gain.max() <= 0.3001
    assert gain.min() >= 0.0999


@pytest.mark.parametrize("max_bins", [0, 1, 4])
def test_no_shift_is_larger_than_asked_for(max_bins, batch):
    after = build("frequency_shift", p=1, max_bins=max_bins)(batch).spec
    allowed = {shift: batch.spec[0].roll(shift, dims=1) for shift in range(-max_bins, max_bins + 1)}
    found = {shift for clip in after for shift, rolled in allowed.items() if torch.equal(clip, rolled)}
    assert found == set(allowed)
    assert all(any(torch.equal(clip, rolled) for rolled in allowed.values()) for clip in after)
