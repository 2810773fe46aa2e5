"""The lock of a run directory: one process at a time writes into it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text

LOCK, HOLDER = ".lock", ".lock.holder"  # held while a process writes into the directory, and which process that is


class BusyError(InputError):
    """Raised when another process writes into a run directory."""


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Keep other processes from writing into a run directory; the system releases the lock if this one is killed.

    Raises:
        BusyError: another process holds it; the message says which.
    """
    from filelock import FileLock, Timeout

    holder = run_dir / HOLDER
    lock = FileLock(run_dir / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text(errors="replace") if holder.is_file() else "another process"
        raise BusyError(f"{run_dir} is being written by {who}: wait for it, or stop it") from None
    try:
        write_text(holder, f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
