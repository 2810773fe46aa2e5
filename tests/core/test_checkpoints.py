"""Checkpoints that survive a kill, a full disk and a move."""

import os
import subprocess

import pytest
import torch

from mimii_pl.core.checkpoints import BEFORE, LAST, AtomicCheckpoints, Checkpoints, last_checkpoint
from mimii_pl.core.errors import InputError


def save(folder, epoch, name=LAST):
    AtomicCheckpoints().save_checkpoint({"epoch": epoch, "weight": torch.ones(1000)}, folder / name)


def epoch_of(path):
    return torch.load(path, weights_only=True)["epoch"]


def test_the_one_before_is_kept(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for epoch in range(3):
        save(tmp_path, epoch)
    assert epoch_of(last_checkpoint(tmp_path)) == 2
    assert epoch_of(tmp_path / BEFORE) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, BEFORE]


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_torn_one_is_named_and_the_one_before_is_used(tmp_path, share, caplog):
    save(tmp_path, 0)
    save(tmp_path, 1)
    last = tmp_path / LAST
    last.write_bytes(last.read_bytes()[: int(share * last.stat().st_size)])
    assert epoch_of(last_checkpoint(tmp_path)) == 0
    assert f"{last} is damaged" in caplog.text
    (tmp_path / BEFORE).unlink()
    with pytest.raises(InputError, match="to train from the beginning"):
        last_checkpoint(tmp_path)


def test_a_flipped_bit_is_found(tmp_path):
    save(tmp_path, 0)
    content = bytearray((tmp_path / LAST).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        last_checkpoint(tmp_path)


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch, caplog):
    save(tmp_path, 0)
    renamed = []

    def replace(source, target):
        if renamed:
            raise KeyboardInterrupt
        renamed.append(target)
        os.rename(source, target)

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 1)
    assert epoch_of(last_checkpoint(tmp_path)) == 0
    assert "continues from the epoch before" in caplog.text


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this test mounts a small file system, which needs root")
    try:
        save(disk, 0)
        save(disk, 1)
        with pytest.raises(InputError, match=r"last\.ckpt cannot be written: No space left on device"):
            AtomicCheckpoints().save_checkpoint({"weight": torch.ones(100_000)}, disk / LAST)
        assert epoch_of(last_checkpoint(disk)) == 1
        assert sorted(path.name for path in disk.iterdir()) == [LAST, BEFORE]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_names_in_a_checkpoint_stay_in_the_folder(tmp_path):
    stored = Checkpoints(dirpath=tmp_path / "old", monitor="val/loss").state_dict()
    elsewhere = str(tmp_path / "old" / ".." / "precious.txt")
    stored |= {"best_model_path": elsewhere, "best_k_models": {elsewhere: torch.tensor(1.0)}}
    stored |= {"kth_best_model_path": "/etc/passwd", "last_model_path": "s3://bucket/last.ckpt"}
    callback = Checkpoints(dirpath=tmp_path / "new", monitor="val/loss")
    callback.load_state_dict(stored)
    new = tmp_path / "new"
    assert callback.best_model_path == str(new / "precious.txt")
    assert list(callback.best_k_models) == [str(new / "precious.txt")]
    assert (callback.kth_best_model_path, callback.last_model_path) == (str(new / "passwd"), str(new / "last.ckpt"))


def test_it_finds_the_state_that_lightnings_own_callback_left():
    from pytorch_lightning.callbacks import ModelCheckpoint

    assert Checkpoints(monitor="val/loss").state_key == ModelCheckpoint(monitor="val/loss").state_key
