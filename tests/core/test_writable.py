"""Folders that cannot be written are found by trying, and named with the option that names another."""

import errno
import os

import pytest
import torch
from support.shut import shut

from mimii_pl.core.checkpoints import checkpoint_bytes
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable
from mimii_pl.core.run_dir import require_writable_run

INSTEAD = "output=<another folder>"


def test_a_folder_is_made_and_stays_as_it_is(tmp_path):
    require_writable(tmp_path / "a" / "b", INSTEAD, ["missing.csv"])
    assert list(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b"]


def test_a_folder_that_is_shut_is_named_with_its_option(tmp_path):
    with shut(tmp_path) as folder:
        for place in (folder, folder / "new"):
            with pytest.raises(InputError) as error:
                require_writable(place, INSTEAD)
            assert str(error.value).startswith(f"{place} cannot be written: ")
            assert str(error.value).endswith(f". Allow writing there, or set {INSTEAD}")
        assert list(folder.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_or_of_one_above_it_is_named(tmp_path):
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot be written: .*Move away what is in its place, or set output="):
            require_writable(place, INSTEAD)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_that_cannot_be_replaced_is_named_and_others_do_not_matter(tmp_path):
    old = tmp_path / "scores.csv"
    old.write_text("kept")
    stamp = old.stat().st_mtime_ns
    with shut(old):
        require_writable(tmp_path, INSTEAD, ["other.csv"])
        with pytest.raises(InputError, match=r"scores.csv cannot be written: .*, or set output="):
            require_writable(tmp_path, INSTEAD, ["scores.csv"])
    require_writable(tmp_path, INSTEAD, ["scores.csv"])
    assert (old.read_text(), old.stat().st_mtime_ns) == ("kept", stamp)


def test_a_folder_in_the_place_of_a_file_is_named_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "link.csv").symlink_to("/dev/full")
    require_writable(tmp_path, INSTEAD, ["link.csv"])
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(InputError, match=r"scores.csv cannot be written: Is a directory\. Move away"):
        require_writable(tmp_path, INSTEAD, ["link.csv", "scores.csv"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=["disk", "quota", "fault"])
def test_what_only_writing_shows_is_found(tmp_path, monkeypatch, number):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=rf"cannot be written: {os.strerror(number)}\. .*[Ss]et output="):
        require_writable(tmp_path, INSTEAD)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_with_too_little_room_is_named(tmp_path):
    layer = torch.nn.Linear(1023, 1024)
    assert checkpoint_bytes(layer.parameters()) == 48 * 2**20  # four times weights and two moments, of 4 MiB each
    require_writable(tmp_path, INSTEAD, room=checkpoint_bytes(layer.parameters()))
    with pytest.raises(InputError, match=r"too small: 1099511627776.0 MiB needed, .* Free some space, or set output="):
        require_writable(tmp_path, INSTEAD, room=2**60)


@pytest.mark.parametrize(
    "name", ["report.html", "scores.csv", "history.csv", "checkpoints", "checkpoints/best.ckpt", "challenge", "run.log"]
)
def test_a_run_finds_whatever_it_could_not_write(tmp_path, name):
    for folder in ("checkpoints", "challenge"):
        (tmp_path / folder).mkdir()
    for file in ("report.html", "scores.csv", "history.csv", "checkpoints/best.ckpt", "run.log", "notes.txt"):
        (tmp_path / file).touch()
    with shut(tmp_path / "notes.txt"):
        require_writable_run(tmp_path, INSTEAD)  # a file that no run writes
    with shut(tmp_path / name), pytest.raises(InputError, match=rf"{tmp_path / name} cannot be written: .*output="):
        require_writable_run(tmp_path, INSTEAD)
