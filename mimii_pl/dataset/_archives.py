"""Unpack downloaded archives safely, and verify later that every unpacked byte is still there."""

import json
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text

LIMIT = 128 * 2**30  # bytes that one archive may unpack to; the largest published one is about 12 GiB
COPY_BYTES = 1 << 20  # bytes copied or read at a time
JUNK = ("__MACOSX", ".DS_Store")  # left by macOS in archives


class Archive(NamedTuple):
    """One file of a Zenodo record, and its place on disk.

    Attributes:
        record: number of the record that contains it.
        name: file name in the record.
        machine: machine type it contains.
        folder: folder it is unpacked to, under the data set's root.
        md5: pinned checksum; None: the record's own is requested.
    """

    record: int
    name: str
    machine: str
    folder: str
    md5: str | None = None


def note_of(root: Path, archive: Archive) -> Path:
    """Return the path of the note that lists an archive's unpacked files: path -> [bytes, CRC-32]."""
    return root / "archives" / f"{archive.name}.json"


def is_unpacked(root: Path, archive: Archive) -> bool:
    """Return True if this archive was unpacked here completely."""
    return note_of(root, archive).is_file()


def unpack(root: Path, archive: Archive, path: Path, *, limit: int = LIMIT) -> int:
    """Unpack a zip below `root/archive.folder` and return the number of files.

    Each file is written atomically and the note last, so an interrupted unpacking is repeated. Folders above the
    machine type's folder in the archive are dropped.

    Raises:
        InputError: damaged zip, path outside the folder, link, more than `limit` bytes, full disk, or another layout.
    """
    from rich.progress import track

    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file, archive, path, limit)
            target = root / archive.folder
            check_space(root, sum(info.file_size for info, _ in members), f"to unpack {archive.name}")
            for info, place in track(members, f"unpacking {archive.name}"):
                _write(file, info, target / place)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it and it is downloaded again") from None
    files = {str(PurePosixPath(archive.folder) / place): [info.file_size, info.CRC] for info, place in members}
    write_text(note_of(root, archive), json.dumps({"record": archive.record, "files": files}))
    return len(members)


def verify(root: Path, archive: Archive) -> tuple[int, list[str]]:
    """Compare the files on disk with the note (size, CRC-32); return the expected number of files and the faults."""
    from rich.progress import track

    faults = []
    files = _files(root, archive)
    for name, (size, crc) in track(files.items(), f"verifying {archive.name}"):
        path = root / name
        if not path.is_file():
            faults.append(f"{name}: missing")
        elif path.stat().st_size != size or _crc(path) != crc:
            faults.append(f"{name}: changed")
    return len(files), faults


def count(root: Path, archive: Archive) -> int:
    """Count the files that an archive was unpacked to."""
    return len(_files(root, archive))


def _files(root: Path, archive: Archive) -> dict[str, tuple[int, int]]:
    return json.loads(note_of(root, archive).read_text())["files"]


def check_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise InputError if the disk of a folder has less free space than needed, in bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"no room {purpose} in {folder.resolve()}: {needed / 2**30:.2f} GiB needed, {free / 2**30:.2f} GiB free. "
            "Free some space, or set dataset.root=<another disk>"
        )


def _members(
    file: zipfile.ZipFile, archive: Archive, path: Path, limit: int
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """List the files of the archive with their places; all are checked before the first is written."""
    members, total = [], 0
    for info in file.infolist():
        place = PurePosixPath(info.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
            raise InputError(f"{path} is not unpacked: {info.filename!r} would be written outside its folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{path} is not unpacked: {info.filename!r} is a link")
        total += info.file_size
        if info.is_dir() or any(part in JUNK for part in place.parts):
            continue
        if archive.machine in place.parts:
            members.append((info, PurePosixPath(*place.parts[place.parts.index(archive.machine) :])))
    if total > limit:
        raise InputError(f"{path} is not unpacked: its contents would take {total / 2**30:.1f} GiB")
    if not members:
        tops = ", ".join(sorted({name.split("/")[0] for name in file.namelist()})[:5]) or "nothing"
        raise InputError(f"{path} has an unknown layout: expected a folder {archive.machine}/ in it, found {tops}")
    return members


def _write(file: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".partial")
    with file.open(info) as source, open(partial, "wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    os.replace(partial, place)


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(COPY_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
