"""What is to be scored: a recording, a folder of them, or a list of any length, read as a stream."""

import csv
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import SUFFIXES

LISTS, TABLES = {".txt", ".lst", ".list"}, {".csv", ".tsv"}
PATH, ID = ("path", "file"), "machine_id"  # columns of a table; `file` is what our own are called
TEXT_OPTIONS = {"encoding": "utf-8", "errors": "surrogateescape"}  # names of files are bytes and need not be UTF-8
log = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A file, and the ID it is judged against (empty: what its name tells)."""

    path: str
    machine_id: str = ""


def recordings(source: Path) -> Iterator[Recording]:
    """Recordings of a file, a folder (searched through, in the order of names) or a list, in its order.

    A list is text with a path on every line (.txt, .lst), or a CSV with the columns `path` and, if they are known,
    `machine_id`. Relative paths start from the list's folder.

    Raises:
        InputError: it is not there, not a list, or names no recording.
    """
    if source.is_dir():
        found = map(Recording, _below("" if source == Path() else str(source)))
    elif not source.is_file():
        raise InputError(f"input={source}: there is no such file or folder")
    elif source.suffix.lower() in LISTS:
        found = _listed(source, _lines)
    elif source.suffix.lower() in TABLES:
        found = _listed(source, _table)
    else:
        found = iter([Recording(str(source))])
    first = next(found, None)
    if first is None:
        raise InputError(f"input={source}: no {'wav or flac file there' if source.is_dir() else 'path in it'}")
    yield first
    yield from found


def write_recordings(source: Path, target: Path) -> int:
    """Write what is to be scored as a table without a header (path, machine_id); how many there are."""
    count = 0
    with open(target, "w", newline="", **TEXT_OPTIONS) as file:
        table = csv.writer(file, lineterminator="\n")
        for recording in recordings(source):
            table.writerow(recording)
            count += 1
    return count


def read_recordings(path: Path) -> Iterator[Recording]:
    """What `write_list` wrote, line by line."""
    with open(path, newline="", **TEXT_OPTIONS) as file:
        yield from map(Recording._make, csv.reader(file))


def _below(folder: str) -> Iterator[str]:
    """Audio files below a folder; only the names of the folders on the way are in memory."""
    try:
        with os.scandir(folder or ".") as entries:
            named = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except PermissionError as error:
        log.warning("%s is left out: %s", folder, error.strerror)
        return
    for name, is_folder in sorted(named):
        path = os.path.join(folder, name)
        if is_folder:
            yield from _below(path)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:
            yield path


def _listed(source: Path, read: Callable[[IO[str], Path], Iterator[tuple[int, Recording]]]) -> Iterator[Recording]:
    folder = "" if source.parent == Path() else str(source.parent)
    with open(source, newline="\n", encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, recording in read(file, source):
            if "\0" in recording.path:
                raise InputError(f"input={source}, line {number}: this is not text with a path on every line")
            yield recording._replace(path=os.path.join(folder, recording.path))


def _lines(file: IO[str], source: Path) -> Iterator[tuple[int, Recording]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, Recording(line.rstrip("\r\n"))


def _table(file: IO[str], source: Path) -> Iterator[tuple[int, Recording]]:
    header = file.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    path = next((names.index(name) for name in PATH if name in names), None)
    if path is None:
        raise InputError(
            f"input={source}: no column `path` among {', '.join(filter(None, names)) or 'nothing'}. "
            "A list of paths without a header is a .txt"
        )
    machine_id = names.index(ID) if ID in names else None
    rows = csv.reader(file, delimiter=delimiter)
    try:
        for cells in filter(None, rows):
            cells += [""] * (len(names) - len(cells))
            if not cells[path].strip():
                raise InputError(f"input={source}, line {rows.line_num + 1}: no file is named")
            yield rows.line_num + 1, Recording(cells[path], "" if machine_id is None else cells[machine_id].strip())
    except csv.Error as error:
        raise InputError(f"input={source}, line {rows.line_num + 1}: not a CSV: {error}") from None
