"""Unpacking: what an archive may not do, and what becomes of a broken one."""

import io
import stat
import zipfile

import pytest
from support import imitation

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive

ARCHIVE = Archive(1, "a.zip", "fan", "dev_data")


def unpack(tmp_path, content, **options):
    (tmp_path / "a.zip").write_bytes(content)
    return _archives.unpack(_prepared(tmp_path), ARCHIVE, tmp_path / "a.zip", **options)


def _prepared(tmp_path):
    (tmp_path / "root" / "archives").mkdir(parents=True, exist_ok=True)
    return tmp_path / "root"


@pytest.mark.parametrize(
    "name", ["../evil.wav", "fan/../../evil.wav", "/evil.wav", "fan\\..\\..\\evil.wav", "C:/evil.wav"]
)
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="outside its folder"):
        unpack(tmp_path, imitation.zipped({"fan/train/a.wav": b"a", name: b"evil"}))
    assert not list(tmp_path.rglob("*.wav"))


def test_no_link_is_followed_or_made(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("fan/train")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    with pytest.raises(InputError, match="is a link"):
        unpack(tmp_path, packed.getvalue())


def test_an_archive_that_would_grow_too_large(tmp_path):
    with pytest.raises(InputError, match="its contents would take"):
        unpack(tmp_path, imitation.zipped({"fan/train/a.wav": bytes(100_000)}), limit=99_999)
    assert not (tmp_path / "root" / "dev_data").exists()


@pytest.mark.parametrize("kept", [0.3, 0.99])
def test_a_truncated_archive(tmp_path, kept):
    whole = imitation.zipped(imitation.dcase2020()["dev_data_fan.zip"])
    with pytest.raises(InputError, match=r"damaged .*delete it and it is downloaded again"):
        unpack(tmp_path, whole[: int(kept * len(whole))])


def test_a_damaged_archive(tmp_path):
    whole = bytearray(imitation.zipped(imitation.dcase2020()["dev_data_fan.zip"]))
    whole[2000] ^= 0xFF
    with pytest.raises(InputError, match="damaged"):
        unpack(tmp_path, bytes(whole))
    assert not _archives.is_unpacked(tmp_path / "root", ARCHIVE)


def test_another_layout(tmp_path):
    with pytest.raises(InputError, match=r"has an unknown layout: expected a folder fan/ in it, found pump, readme"):
        unpack(tmp_path, imitation.zipped({"pump/train/a.wav": b"a", "readme": b"b"}))


def test_folders_above_the_machine_and_junk_are_left_away(tmp_path):
    files = {"dev_data/fan/train/a.wav": b"a", "__MACOSX/fan/train/._a.wav": b"x"}
    assert unpack(tmp_path, imitation.zipped(files)) == 1
    assert [path.name for path in (tmp_path / "root" / "dev_data" / "fan" / "train").iterdir()] == ["a.wav"]
