"""Unpack downloaded archives safely, and verify later that every unpacked byte is still there."""

import json
import logging
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._audio import SUFFIXES

LIMIT = 128 * 2**30  # bytes that one archive may unpack to; the largest published one is about 12 GiB
COPY_BYTES = 1 << 20  # bytes copied or read at a time
KEPT_SUFFIXES = {*SUFFIXES, ".csv", ".txt", ".json", ".pdf", ".md"}  # kinds of files that are unpacked
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1  # bit of the flags of a member
MAX_NAME = 240  # bytes; file systems allow 255
JUNK = ("__MACOSX", ".DS_Store")  # left by macOS in archives
log = logging.getLogger(__name__)


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

    Files are put in their places when all are unpacked and checked, and the note is written last: an interrupted or
    failed unpacking leaves nothing behind and is repeated. Folders above the machine type's folder in the archive are
    dropped, and so are files of other kinds than `KEPT_SUFFIXES`, with a warning.

    Raises:
        InputError: damaged, encrypted or packed by an unknown method; a path outside the folder, a link, a name that
            cannot be a file's or is there twice; more than `limit` bytes, full disk, or another layout.
    """
    from rich.progress import track

    stage = root / "archives" / f"{archive.name}.unpacking"
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file, archive, path, limit)
            check_space(root, sum(info.file_size for info, _ in members), f"to unpack {archive.name}")
            shutil.rmtree(stage, ignore_errors=True)  # of a process that was killed
            for info, place in track(members, f"unpacking {archive.name}"):
                _write(file, info, stage / place)
        for _, place in members:
            (root / archive.folder / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / place, root / archive.folder / place)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be unpacked in {root.resolve()}: {error.strerror or error}") from None
    except Exception as error:  # zipfile and its decoders raise of many kinds
        raise InputError(f"{path} is damaged ({error}): delete it and it is downloaded again") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
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
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    total, others, seen = 0, [], set()
    for info in file.infolist():
        place = PurePosixPath(info.filename.replace("\\", "/"))
        fault = _escape(info, place)
        total += info.file_size
        wanted = archive.machine in place.parts[:-1] and not any(part in JUNK for part in place.parts)
        if wanted and not info.is_dir() and not fault:
            place = PurePosixPath(*place.parts[place.parts.index(archive.machine) :])
            if place.suffix.lower() in KEPT_SUFFIXES:
                name = str(place).casefold()  # one file, where case does not matter
                fault = "is in it twice" if name in seen else _fault(info, place)
                seen.add(name)
                members.append((info, place))
            else:
                others.append(str(place))
        if fault:
            raise InputError(f"{path} is not unpacked: {printable(info.filename[:100])!r} {fault}")
    if total > limit:
        raise InputError(f"{path} is not unpacked: its contents would take {total / 2**30:.1f} GiB")
    if not members:
        tops = ", ".join(sorted({printable(name.split("/")[0])[:100] for name in file.namelist()})[:5]) or "nothing"
        raise InputError(f"{path} has an unknown layout: expected a folder {archive.machine}/ in it, found {tops}")
    folders = {str(parent).casefold() for _, place in members for parent in place.parents}
    if both := folders & seen:
        raise InputError(f"{path} is not unpacked: {min(both)!r} is both a file and a folder")
    if others:
        log.warning("%s: %d files of other kinds are left out, for example %s", path, len(others), printable(others[0]))
    return members


def _escape(info: zipfile.ZipInfo, place: PurePosixPath) -> str:
    """Say how a member would leave its folder; empty if it would not."""
    if place.is_absolute() or ".." in place.parts or any(":" in part for part in place.parts[:1]):
        return "would be written outside its folder"
    return "is a link" if stat.S_ISLNK(info.external_attr >> 16) else ""


def _fault(info: zipfile.ZipInfo, place: PurePosixPath) -> str:
    """Say why a member cannot be unpacked; empty if it can."""
    if printable(place.name) != place.name or any(len(part.encode()) > MAX_NAME for part in place.parts):
        return f"is not a file name: control characters, or more than {MAX_NAME} bytes"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is packed by method {info.compress_type}, which is unknown: pack it by deflate"
    return ""


def _write(file: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with file.open(info) as source, open(place, "wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    if place.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"wrong size of {info.filename!r}")


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(COPY_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
