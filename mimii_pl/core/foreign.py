"""Files, names, lists and tables from elsewhere: what may be in them, and how they are written into tables of ours."""

import csv
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from mimii_pl.core.errors import InputError

MAX_LINE = 1 << 20  # characters; a field of a csv may have 1 << 17
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # first bytes

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading bytes; a link to one counts.

    Anything else is not even opened: a pipe waits for its writer, and opening a device can have effects.

    Raises:
        OSError: there is no such file, it is not regular, or it may not be read.
    """
    _check_regular(os.stat(path))
    # O_NONBLOCK: never wait, should the file have been replaced by a pipe meanwhile
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115  (returned)
    try:
        _check_regular(os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{KINDS.get(stat.S_IFMT(status.st_mode), 'a special file')}, not a regular file")


def printable(name: str | Path) -> str:
    """Replace what a terminal cannot show of a file name: control characters, and bytes that are not UTF-8."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))


def is_utf8(text: str) -> bool:
    """Return False for text with bytes that were not UTF-8 where it was read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_windows_1252(text: str) -> str | None:
    """Decode text that was no UTF-8 where it was read as Windows-1252; None for other text, or if that fails too."""
    if is_utf8(text):
        return None
    try:
        return text.encode(errors="surrogateescape").decode("cp1252")
    except UnicodeDecodeError:
        return None


# --- lists and tables -------------------------------------------------------------------------------------------------
def text_lines(path: Path, *, newline: str = "\n", any_bytes: bool = True) -> Iterator[str]:
    """Yield the lines of a text in UTF-8 or UTF-16; with their ends.

    Args:
        any_bytes: keep other bytes as surrogate escapes, as they are in file names: a list may name any file.

    Raises:
        InputError: it cannot be opened, or a line is not text, or has more than `MAX_LINE` characters.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    with file:
        wide = _wide_encoding(file.read(2))
        file.seek(0)
        encoding, errors = (wide, "replace") if wide else ("utf-8-sig", "surrogateescape")
        text = TextIOWrapper(file, encoding, errors, newline)
        for number in count(1):
            line = text.readline(MAX_LINE + 1)
            if not line:
                return
            fault = "not UTF-16, as its first bytes say" if wide and "\N{REPLACEMENT CHARACTER}" in line else ""
            if fault := fault or _line_fault(line, any_bytes):
                raise InputError(f"{path}, line {number}: this is {fault}")
            yield line


def _wide_encoding(start: bytes) -> str:
    """Return the encoding of a text in UTF-16, by its mark or the zero in its first character; empty for others."""
    if start in UTF_16:
        return "utf-16"
    zeros = [byte == 0 for byte in start]
    return "utf-16-le" if zeros == [False, True] else "utf-16-be" if zeros == [True, False] else ""


def _line_fault(line: str, any_bytes: bool) -> str:
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE} characters"
    if "\0" in line:
        return "not text"
    return "" if any_bytes or is_utf8(line) else "not UTF-8: save the file as UTF-8"


def read_rows(path: Path, delimiters: str = ",;\t", *, any_bytes: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of the rows of a csv, its header first; empty lines are left out.

    The delimiter is that of these which the first line has most often, or that of a first line `sep=;`.

    Raises:
        InputError: see `text_lines`, or it is not a csv; the message names the line.
    """
    lines = text_lines(path, newline=_line_end(path), any_bytes=any_bytes)
    first = next(lines, "")
    if match := re.fullmatch(r"sep=([,;|\t])\r?\n?", first):  # of Excel
        rows, before = csv.reader(lines, delimiter=match[1]), 1
    else:
        rows, before = csv.reader(chain([first], lines), delimiter=max(delimiters, key=first.count)), 0
    try:
        for cells in rows:
            if cells:
                yield rows.line_num + before, cells
    except csv.Error as error:
        reason = "a carriage return in a cell without quotes" if "new-line" in str(error) else error
        raise InputError(f"{path}, line {rows.line_num + before}: not a csv: {reason}") from None


def _line_end(path: Path) -> str:
    """Return how lines end: with a carriage return alone if there is no line feed."""
    try:
        with open_regular(path) as file:
            start = file.read(MAX_LINE)
    except OSError:  # reported when it is read
        start = b""
    return "\r" if b"\r" in start and b"\n" not in start else "\n"


def write_rows(file: TextIO, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as csv, lines ending with a newline alone; `csv.reader` reads them back as they are.

    >>> import sys
    >>> write_rows(sys.stdout, [("a.wav", 0.5)])
    a.wav,0.5
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:  # before Python 3.13, a carriage return alone is not quoted
        (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)


# --- cells of tables --------------------------------------------------------------------------------------------------
def file_cell(path: str | Path) -> str:
    """Spell a path as a cell that no spreadsheet runs; it is a path of the same file.

    >>> file_cell("=1+1.wav"), file_cell("sounds/=1+1.wav")
    ('./=1+1.wav', 'sounds/=1+1.wav')
    """
    text = str(path)
    return f".{os.sep}{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


def name_fault(name: str) -> str:
    """Say why a name cannot be a cell of a table; empty if it can. `-6_dB` and `+6` can.

    >>> name_fault("=1+1")
    'a spreadsheet would run it'
    """
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "it has a control character, or is not UTF-8"
    plain = re.fullmatch(r"[+-][\w. ]*|[^=@+-].*|", name, re.DOTALL)
    return "" if plain else "a spreadsheet would run it"
