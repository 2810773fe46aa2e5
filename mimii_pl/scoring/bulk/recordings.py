"""Recordings to score: one file, a folder of files, or a list of any length, read as a stream."""

import csv
import logging
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import file_cell, printable, text_lines, write_rows
from mimii_pl.dataset._files import audio_files, listed_file, listed_rows
from mimii_pl.dataset._spellings import folded, listed_fields

LISTS, TABLES = {".txt", ".lst", ".list"}, {".csv", ".tsv"}
TEXT_OPTIONS: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be UTF-8
MAX_PATH = 1 << 16  # characters; a file system allows 4,096 or so
log = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A file and its machine ID; empty: the one in its name."""

    path: str
    machine_id: str = ""


def recordings(source: Path, columns: Mapping[str, str] | None = None) -> Iterator[Recording]:
    """Yield the recordings of a file, of a folder (recursively, sorted by name) or of a list, in its order.

    A list is text with one path per line (.txt, .lst), or a CSV whose columns are named as for `dataset=table`: a path,
    and optionally machine ID and machine type. Relative paths start from the folder of the list. Folders that cannot be
    entered are named in a warning.

    Args:
        columns: field of a clip -> its column, as the run's own table had them; others are found by their usual names.

    Raises:
        InputError: the source does not exist, is not a list, or names no recording.
    """
    items: Iterator[Recording]
    if str(source) == "???":
        raise InputError("input is missing: set input=<file, folder or list>")
    if os.path.isdir(source):
        items = map(Recording, audio_files("" if source == Path() else str(source), _skip_folder))
    elif not os.path.isfile(source):
        raise InputError(f"input={source}: there is no such file or folder")
    elif source.suffix.lower() in LISTS:
        items = _listed(source, _lines(source))
    elif source.suffix.lower() in TABLES:
        items = _listed(source, _table(source, columns or {}))
    else:
        items = iter([Recording(str(source))])
    first = next(items, None)
    if first is None:
        raise InputError(f"input={source}: it contains no {'wav or flac file' if os.path.isdir(source) else 'path'}")
    for recording in chain([first], items):
        yield recording._replace(path=file_cell(recording.path))


def write_recordings(source: Path, target: Path, columns: Mapping[str, str] | None = None) -> int:
    """Write the recordings of a source as a table without a header (path, machine_id); return their number."""
    count = 0
    with open(target, "w", newline="", **TEXT_OPTIONS) as file:
        for recording in recordings(source, columns):
            write_rows(file, [recording])
            count += 1
    return count


def read_recordings(path: Path) -> Iterator[Recording]:
    """Yield the recordings that `write_recordings` wrote, line by line."""
    with open(path, newline="", **TEXT_OPTIONS) as file:
        yield from map(Recording._make, csv.reader(file))


def full_id(machine_id: str, machine: str) -> str:
    """Return a machine ID with its machine type, `fan/id_00`, where a list gives both; of a type alone, `fan/`."""
    return f"{machine}/{machine_id}" if machine and "/" not in machine_id else machine_id


def _skip_folder(folder: str, reason: str) -> None:
    log.warning("skipped %s: %s", printable(folder), reason)


def _listed(source: Path, listed: Iterator[tuple[int, Recording]]) -> Iterator[Recording]:
    folder = "" if source.parent == Path() else str(source.parent)
    for line, recording in listed:
        if len(recording.path) > MAX_PATH:
            raise InputError(f"input={source}, line {line}: this is not text with one path per line")
        yield recording._replace(path=listed_file(folder, recording.path))


def _lines(source: Path) -> Iterator[tuple[int, Recording]]:
    for number, line in enumerate(text_lines(source), 1):
        if line.strip():
            yield number, Recording(line.rstrip("\r\n"))


def _table(source: Path, given: Mapping[str, str]) -> Iterator[tuple[int, Recording]]:
    rows = listed_rows(source, str(source.parent))
    _, header = next(rows, (0, []))
    names = [folded(name) for name in header]
    fields = {field: names.index(column) for field, column in listed_fields(names, given).items()}
    if "path" not in fields:
        columns = printable(", ".join(filter(None, names))[:200])
        raise InputError(
            f"input={source}: there is no column `path`; the columns are: {columns or 'none'}. "
            "Name a list of paths without a header .txt"
        )
    for line, cells in rows:
        cells += [""] * (len(names) - len(cells))
        values = {field: cells[position] for field, position in fields.items()}
        if not values["path"].strip():
            raise InputError(f"input={source}, line {line}: the path is empty")
        id_, machine = (values.get(field, "").strip() for field in ("id", "machine"))
        yield line, Recording(values["path"], full_id(id_, machine))
