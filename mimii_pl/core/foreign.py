"""Files from elsewhere: opened only if they are regular files."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

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
