"""What stands in a file system and is no regular file that can be read: name -> function that makes it at a path."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # an address has at most 108 bytes
    os.close(folder)


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def _loop(path: Path) -> None:
    other = path.with_name(f"{path.name}.other")
    other.symlink_to(path)
    path.symlink_to(other)


def _unreadable(path: Path) -> None:
    path.write_bytes(b"RIFF")
    path.chmod(0)


SPECIAL: dict[str, Callable[[Path], Any]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "two links in a loop": _loop,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to /dev/random": lambda path: path.symlink_to("/dev/random"),
    "link to a folder": lambda path: path.symlink_to("/proc"),
    "link to a file of the kernel": lambda path: path.symlink_to("/proc/self/maps"),
}
if os.geteuid() == 0:  # the superuser may make devices, and reads everything
    SPECIAL["device"] = _device
else:
    SPECIAL["unreadable"] = _unreadable
