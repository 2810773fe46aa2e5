"""Recordings that a table of `mimii check` marks to be left out of training."""

import os
from collections.abc import Sequence
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import file_cell, read_rows
from mimii_pl.dataset._channels import split_channel
from mimii_pl.dataset._clip import Clip

EXCLUDE_COLUMNS = ("file", "exclude")
MARKS = {"yes": True, "true": True, "1": True, "x": True, "no": False, "false": False, "0": False, "": False}


def base_of(root: Path) -> Path:
    """Return the folder that files of the table are relative to: the root, or that of a root that is a file."""
    return root.parent if root.is_file() else root


def checked_cell(path: Path, root: Path) -> str:
    """Spell a recording as a cell: relative to `base_of(root)` where it is below it."""
    base, own = os.path.abspath(base_of(root)), os.path.abspath(path)
    inside = own.startswith(os.path.join(base, ""))
    return file_cell(os.path.relpath(own, base) if inside else own)


def read_excluded(table: Path, root: Path) -> set[str]:
    """Read the absolute paths of the recordings that are marked.

    Raises:
        InputError: it cannot be read, lacks a column, or has another mark than yes or no.
    """
    rows = read_rows(table)
    _, header = next(rows, (0, []))
    if missing := [name for name in EXCLUDE_COLUMNS if name not in header]:
        raise InputError(f"dataset.exclude={table}: it has no column {missing[0]}: give a check.csv of `mimii check`")
    places = [header.index(name) for name in EXCLUDE_COLUMNS]
    marked = set()
    for line, cells in rows:
        file, mark = (cells[place] if len(cells) > place else "" for place in places)
        known = MARKS.get(mark.strip().lower())
        if known is None:
            raise InputError(f"dataset.exclude={table}, line {line}: the mark is {mark!r}: it should be yes or no")
        if known and file:
            marked.add(os.path.abspath(base_of(root) / file))
    return marked


def without_excluded(clips: Sequence[Clip], table: Path, root: Path) -> tuple[list[Clip], list[Clip]]:
    """Divide clips with their split into those that stay and those left out; what is tested always stays.

    Raises:
        InputError: see `read_excluded`, or no marked recording is one of the clips.
    """
    marked = read_excluded(table, root)
    names = {clip.path: {os.path.abspath(path) for path in (clip.path, split_channel(clip.path)[0])} for clip in clips}
    present = {path: bool(own & marked) for path, own in names.items()}
    if marked and not any(present.values()):
        raise InputError(f"dataset.exclude={table}: none of its {len(marked)} marked files is a recording of {root}")
    out = [clip for clip in clips if present[clip.path] and clip.split in ("train", "validation")]
    left = {clip.path for clip in out}
    return [clip for clip in clips if clip.path not in left], out
