"""Recordings to score: one file, a folder of files, or a list of any length, read as a stream."""

import csv
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import SUFFIXES

LISTS, TABLES = {".txt", ".lst", ".list"}, {".csv", ".tsv"}
PATH, ID = ("path", "file"), "machine_id"  # columns of a table; our own tables have `file`
TEXT_OPTIONS: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be UTF-8
log = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A file and its machine ID; empty: the one in its name."""

    path: str
    machine_id: str = ""


def recordings(source: Path) -> Iterator[Recording]:
    """Yield the recordings of a file, of a folder (recursively, sorted by name) or of a list, in its order.

    A list is text with one path per line (.txt, .lst), or a CSV with the columns `path` and optionally `machine_id`.
    Relative paths start from the folder of the list.

    Raises:
        InputError: the source does not exist, is not a list, or names no recording.
    """
    items: Iterator[Recording]
    if str(source) == "???":
        raise InputError("input is missing: set input=<file, folder or list>")
    if source.is_dir():
        items = map(Recording, _audio_files("" if source == Path() else str(source)))
    elif not source.is_file():
        raise InputError(f"input={source}: there is no such file or folder")
    elif source.suffix.lower() in LISTS:
        items = _listed(source, _lines)
    elif source.suffix.lower() in TABLES:
        items = _listed(source, _table)
    else:
        items = iter([Recording(str(source))])
    first = next(items, None)
    if first is None:
        raise InputError(f"input={source}: it contains no {'wav or flac file' if source.is_dir() else 'path'}")
    yield first
    yield from items


def write_recordings(source: Path, target: Path) -> int:
    """Write the recordings of a source as a table without a header (path, machine_id); return their number."""
    count = 0
    with open(target, "w", newline="", **TEXT_OPTIONS) as file:
        table = csv.writer(file, lineterminator="\n")
        for recording in recordings(source):
            table.writerow(recording)
            count += 1
    return count


def read_recordings(path: Path) -> Iterator[Recording]:
    """Yield the recordings that `write_recordings` wrote, line by line."""
    with open(path, newline="", **TEXT_OPTIONS) as file:
        yield from map(Recording._make, csv.reader(file))


def _audio_files(folder: str) -> Iterator[str]:
    """Yield the audio files below a folder; only the entries of the folders on the current path are in memory."""
    try:
        with os.scandir(folder or ".") as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except PermissionError as error:
        log.warning("skipped %s: %s", folder, error.strerror)
        return
    for name, is_folder in sorted(names):
        path = os.path.join(folder, name)
        if is_folder:
            yield from _audio_files(path)
        elif os.path.splitext(name)[1].lower() in SUFFIXES:
            yield path


def _listed(source: Path, read: Callable[[IO[str], Path], Iterator[tuple[int, Recording]]]) -> Iterator[Recording]:
    folder = "" if source.parent == Path() else str(source.parent)
    with open(source, newline="\n", encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, recording in read(file, source):
            if "\0" in recording.path:
                raise InputError(f"input={source}, line {number}: this is not text with one path per line")
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
            f"input={source}: there is no column `path`; the columns are: {', '.join(filter(None, names)) or 'none'}. "
            "Name a list of paths without a header .txt"
        )
    machine_id = names.index(ID) if ID in names else None
    rows = csv.reader(file, delimiter=delimiter)
    try:
        for cells in filter(None, rows):
            cells += [""] * (len(names) - len(cells))
            if not cells[path].strip():
                raise InputError(f"input={source}, line {rows.line_num + 1}: the path is empty")
            yield rows.line_num + 1, Recording(cells[path], "" if machine_id is None else cells[machine_id].strip())
    except csv.Error as error:
        raise InputError(f"input={source}, line {rows.line_num + 1}: not a CSV: {error}") from None
