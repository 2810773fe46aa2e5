"""From the cache to what a detector sees."""

import numpy as np
import pytest
import torch
import world

from mimii_pl.dataset._sampler import Crop
from mimii_pl.errors import InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("data") / "world", train=8, test=3)


@pytest.mark.parametrize("normalize", ["none", "clip", "train"])
@pytest.mark.parametrize("features", ["log_mel", "complex_stft"])
def test_a_crop_is_a_slice_of_the_whole_clip(root, features, normalize):
    sounds = world.sounds_of(
        world.configured(root, "model=dense_ae", f"features={features}", f"features.normalize={normalize}")
    )
    sounds.crop = Crop(10)
    sounds.fit_features()
    n = sounds.in_shape[2]
    for frame in (0, 1, 7, n - 11, n - 10):
        items = np.array([[row, frame] for row in sounds.rows("train")[:4]])
        cropped = sounds.on_after_batch_transfer(sounds.train_dataloader().dataset[items], 0)
        items[:, 1] = -1
        whole = sounds.on_after_batch_transfer(sounds.train_dataloader().dataset[items], 0)
        assert cropped.wave.shape[1] < whole.wave.shape[1]
        torch.testing.assert_close(cropped.spec, whole.spec[..., frame : frame + 10], rtol=1e-4, atol=1e-4)


def test_batches_are_int16_until_they_are_on_the_device(root):
    sounds = world.sounds_of(world.configured(root, "model=dense_ae"))
    batch = next(iter(sounds.val_dataloader()))
    assert batch.wave.dtype == torch.int16
    after = sounds.on_after_batch_transfer(batch, 0)
    assert after.wave.dtype == after.spec.dtype == torch.float32
    assert after.wave.abs().max() <= 1
    torch.testing.assert_close(after.wave * 32768, batch.wave.float())


def test_training_set_normalisation_is_that_of_the_training_clips(root):
    sounds = world.sounds_of(world.configured(root, "model=dense_ae", "features.normalize=train"))
    sounds.fit_features()
    rows = sounds.rows("train")
    spec = sounds.features(torch.from_numpy(sounds.waves[rows]).float() / 32768)
    torch.testing.assert_close(spec.mean(dim=(0, 3)), torch.zeros(1, 128), atol=1e-3, rtol=0)
    torch.testing.assert_close(spec.std(dim=(0, 3)), torch.ones(1, 128), atol=1e-3, rtol=0)


def test_machine_ids_are_keyed_by_type(tmp_path):
    for machine in ("fan", "pump"):
        world.write(tmp_path / "world", machine=machine, train=4, test=2)
    sounds = world.sounds_of(world.configured(tmp_path / "world", "machine=all", "model=dense_ae"))
    assert sounds.labels == ["fan/id_00", "fan/id_02", "pump/id_00", "pump/id_02"]
    for clip, number in zip(sounds.clips, sounds.machine_id, strict=True):
        assert sounds.labels[number] == clip.label
    assert world.sounds_of(world.configured(tmp_path / "world", "machine=pump")).labels == sounds.labels[2:]


def test_a_machine_heard_only_in_the_test_has_no_number(tmp_path):
    root = world.write(tmp_path / "world", train=4, test=2)
    for path in (root / "fan" / "train").glob("*id_02*"):
        path.unlink()
    sounds = world.sounds_of(world.configured(root, "model=dense_ae"))
    assert {clip.machine_id: number for clip, number in zip(sounds.clips, sounds.machine_id, strict=True)} == {
        "id_00": 0, "id_02": -1,
    }  # fmt: skip


def test_what_is_missing_is_explained(root, tmp_path):
    with pytest.raises(InputError, match=r"machine 'pump' .* found there: fan"):
        world.sounds_of(world.configured(root, "machine=pump"))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"expected <machine>/train/normal_id_00.*dataset=synthetic"):
            world.sounds_of(world.configured(folder))


def test_only_training_has_targets_and_augmentation(root):
    sounds = world.sounds_of(world.configured(root, "model=complex_ssl", "augmentation.noise.p=1"))
    batch = next(iter(sounds.val_dataloader()))
    once, twice = (sounds.on_after_batch_transfer(batch, 0) for _ in range(2))
    assert once.target is None
    assert torch.equal(once.spec, twice.spec)


def test_files_of_another_name_are_left_out(root, tmp_path, caplog):
    other = world.write(tmp_path / "world", train=4, test=2)
    (other / "fan" / "train" / "readme.wav").write_bytes(b"")
    sounds = world.sounds_of(world.configured(other, "model=dense_ae"))
    assert "1 files" in caplog.text
    assert len(sounds.clips) == 16
