"""Errors of the system in writing: the way out is that of the fault."""

import errno
import os

import pytest

from mimii_pl.core.errors import InputError, first_line
from mimii_pl.core.files import write_text


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "Free some space, and start"),
        (errno.EDQUOT, "Free some space, and start"),
        (errno.EROFS, "Allow writing there, and start"),
        (errno.EACCES, "Allow writing there, and start"),
        (errno.EIO, ""),
        (errno.ENAMETOOLONG, ""),
    ],
    ids=lambda value: errno.errorcode.get(value, ""),
)
def test_only_a_full_disk_needs_space(number, way_out, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match=f"facts.json cannot be written: {os.strerror(number)}") as info:
        write_text(tmp_path / "facts.json", "{}")
    assert str(info.value).partition(os.strerror(number))[2].startswith(f". {way_out}" if way_out else "")
    assert ("space" in str(info.value)) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written: Is a directory\. Move away what is in its place"):
        write_text(tmp_path, "{}")


def test_the_first_line_of_an_error_of_sqlalchemy_is_the_databases():
    text = "(raised as a result of Query-invoked autoflush; ...)\n(sqlite3.OperationalError) disk I/O error\n[SQL]"
    assert first_line(ValueError(text)) == "disk I/O error"
