"""Unpacking: what an archive may not do, and what becomes of a broken one."""

import io
import stat
import warnings
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


def changed(content, field, value, size=2):
    """Change a field of the first member, in its own header and in the directory of the archive."""
    local, central = {"flags": (6, 8), "method": (8, 10), "size": (22, 24)}[field]
    for start in (content.index(b"PK\3\4") + local, content.index(b"PK\1\2") + central):
        content[start : start + size] = value.to_bytes(size, "little")
    return content


def packed(*names, content=b"a"):
    file = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(file, "w") as archive,
    ):  # of names that are there twice
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), content)
    return bytearray(file.getvalue())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(packed("fan/a.wav"), "flags", 1), "'fan/a.wav' is encrypted"),
        (changed(packed("fan/a.wav"), "method", 97), "is packed by method 97"),
        (changed(packed("fan/a.wav"), "method", 99), "is packed by method 99"),
        (changed(packed("fan/a.wav"), "size", 9, 4), "damaged"),
        (changed(packed("fan/a.wav", content=b"abc"), "size", 1, 4), "damaged"),
        (packed("."), "unknown layout: expected a folder fan/ in it"),
        (packed("fan"), "unknown layout: expected a folder fan/ in it, found fan"),
        (packed("fan/a.wav", "fan/a.wav"), "'fan/a.wav' is in it twice"),
        (packed("fan/a.wav", "fan/A.wav"), "'fan/A.wav' is in it twice"),
        (packed("fan/a.wav/b.wav", "fan/a.wav"), "'fan/a.wav' is both a file and a folder"),
        (packed("fan/" + 300 * "a" + ".wav"), "is not a file name"),
        (packed("/".join(["fan", *(200 * "a" for _ in range(30)), "a.wav"])), "File name too long"),
        (packed("fan/a\n.wav"), "is not a file name"),
        (packed("fan/\x1b[2J.wav"), "is not a file name"),
        (packed("pump/\x1b\n/a.wav"), "found pump"),
        (b"no zip at all", "damaged .*not a zip file"),
        (b"", "damaged"),
    ],
)
def test_an_archive_that_cannot_be_used_is_explained_and_leaves_nothing(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        unpack(tmp_path, bytes(content))
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "root").rglob("*")] == ["archives"]


@pytest.mark.slow
def test_no_damage_to_an_archive_ends_in_a_traceback(tmp_path):
    whole = packed("fan/a.wav", "fan/b.csv", content=bytes(range(99)))
    reasons = []
    for position in range(len(whole)):
        for value in (0, 0xFF, whole[position] ^ 0x40):
            damaged = bytearray(whole)
            damaged[position] = value
            try:
                unpack(tmp_path, bytes(damaged))
            except InputError as error:
                reasons.append(str(error))
            (tmp_path / "root" / "archives" / "a.zip.json").unlink(missing_ok=True)
    assert len(reasons) > len(whole)
    assert not any("\n" in reason for reason in reasons)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "a.zip"]
    assert {path.suffix.lower() for path in written} <= _archives.KEPT_SUFFIXES
    assert all(path.is_relative_to(tmp_path / "root" / "dev_data" / "fan") for path in written)


def test_a_member_that_fails_late_leaves_nothing(tmp_path):
    content = packed("fan/a.wav", "fan/b.wav", content=b"sound")
    content[content.rindex(b"sound")] ^= 1
    with pytest.raises(InputError, match="damaged"):
        unpack(tmp_path, bytes(content))
    assert [path.name for path in (tmp_path / "root").rglob("*")] == ["archives"]


def test_only_recordings_tables_and_texts_are_unpacked(tmp_path, caplog):
    names = (
        "fan/a.wav",
        "fan/b.FLAC",
        "fan/attributes_00.csv",
        "fan/readme.md",
        "fan/run.py",
        "fan/.bashrc",
        "evil.sh",
    )
    assert unpack(tmp_path, bytes(packed(*names))) == 4
    folder = tmp_path / "root" / "dev_data" / "fan"
    assert sorted(path.name for path in folder.iterdir()) == ["a.wav", "attributes_00.csv", "b.FLAC", "readme.md"]
    assert "2 files of other kinds are left out, for example fan/run.py" in caplog.text
    assert _archives.verify(tmp_path / "root", ARCHIVE) == (4, [])


def test_trailing_data_does_no_harm(tmp_path):
    assert unpack(tmp_path, bytes(packed("fan/a.wav") + b"more")) == 1


def test_another_layout(tmp_path):
    with pytest.raises(InputError, match=r"has an unknown layout: expected a folder fan/ in it, found pump, readme"):
        unpack(tmp_path, imitation.zipped({"pump/train/a.wav": b"a", "readme": b"b"}))


def test_folders_above_the_machine_and_junk_are_left_away(tmp_path):
    files = {"dev_data/fan/train/a.wav": b"a", "__MACOSX/fan/train/._a.wav": b"x"}
    assert unpack(tmp_path, imitation.zipped(files)) == 1
    assert [path.name for path in (tmp_path / "root" / "dev_data" / "fan" / "train").iterdir()] == ["a.wav"]
