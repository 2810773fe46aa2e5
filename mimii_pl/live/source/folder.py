"""`folder:/drop`: recordings that others put into a folder, each when it is whole."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._audio import SUFFIXES, UNREAD, UnreadableClip
from mimii_pl.live._database import Database
from mimii_pl.live.source._recording import recording
from mimii_pl.live.source._source import SoundSource, SourceLostError
from mimii_pl.live.windows import Block

LOOK_ANYWAY = 60.0  # s between looks at the whole folder, should a change not have been told
SETTLED_AFTER = 2.0  # s that size and time of a file must stay the same
LOOK_AGAIN = 1.0  # s between looks at files that are not settled
NEVER_REACHED = 1 << 62  # number of a sample that no file reaches
HEARD_TABLE = """
CREATE TABLE IF NOT EXISTS heard (
    station TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    first INTEGER NOT NULL, end INTEGER NOT NULL, fault TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (station, path, size, mtime)
) WITHOUT ROWID
"""
log = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # else it tells of every change


class _Version(NamedTuple):
    """A file as it is now: its name alone does not tell whether it was heard."""

    size: int
    mtime: int  # ns


def _stored_path(path: Path) -> str:
    """Return a path as the database holds it: names of older systems may be no UTF-8.

    >>> _stored_path(Path(os.fsdecode(b"M\\xe4rz.wav")))
    'M\\\\xe4rz.wav'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class FolderSource(SoundSource):
    """Recordings of a folder and those below it, in the order in which they were last written.

    A file is taken when its size and time have not changed for `SETTLED_AFTER` s, as they have not for one that is
    renamed into place. Files that were heard are remembered by path, size and time.

    Args:
        folder: to look in.
        database: that remembers.
        station: whose folder it is.
        polling: look at all files every second, for network shares, which do not tell of changes.
        full_scale: number in floating-point recordings that counts as full scale.
    """

    live = False
    quiet_after = None

    def __init__(
        self, folder: Path, database: Database, station: str, *, polling: bool = False, full_scale: float = 1.0
    ) -> None:
        super().__init__(f"folder:{folder}")
        self.folder, self.database, self.station = folder, database, station
        self.polling, self.full_scale = polling, full_scale
        self._seen: dict[Path, tuple[_Version, float]] = {}
        self._stop, self._opened = threading.Event(), False
        self._place: tuple[int, int] | None = None
        with database.changes() as connection:
            connection.execute(HEARD_TABLE)

    def open(self) -> None:
        if not self.folder.is_dir():
            if self._opened:
                raise SourceLostError(f"{self.folder} is gone")
            raise InputError(f"source={printable(self.name)}: there is no such folder")
        self._opened, self._place = True, self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """Return what tells the folder from another one of its name; None if it is gone."""
        try:
            status = self.folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def stop(self) -> None:
        super().stop()
        self._stop.set()

    def blocks(self, first: int) -> Iterator[Block | None]:
        try:
            from watchfiles import watch
        except ImportError as error:
            raise InputError(f"source={self.name} needs watchfiles ({error}): pip install 'mimii_pl[live]'") from None
        changes = watch(
            self.folder,
            stop_event=self._stop,
            rust_timeout=int(1000 * LOOK_AGAIN),
            yield_on_timeout=True,
            force_polling=self.polling or None,
            raise_interrupt=False,
        )
        try:
            looked = -LOOK_ANYWAY
            while not self.stopped:
                changed = next(changes, None) if looked > 0 else None
                if self._identity() != self._place:
                    raise SourceLostError(f"{self.folder} is gone, or another folder now")
                if not (changed or self._seen or time.monotonic() > looked + LOOK_ANYWAY):
                    continue
                looked = time.monotonic()
                for path, version in self._settled(first):
                    for block in self._heard(path, version, first):
                        yield block
                        first = first if block is None else block.first + block.samples.shape[1]
        except (FileNotFoundError, RuntimeError) as error:  # watchfiles raises both
            raise SourceLostError(one_line(error)) from None

    def _settled(self, first: int) -> list[tuple[Path, _Version]]:
        """List the files that are whole and were not heard to their ends, the oldest first."""
        now, found, seen = time.monotonic(), [], {}
        known = {
            (path, size, mtime): (begun, end)
            for path, size, mtime, begun, end in self.database.read(
                "SELECT path, size, mtime, first, end FROM heard WHERE station = ?", (self.station,)
            )
        }
        for path in self.folder.rglob("*"):
            if path.suffix.lower() not in (*SUFFIXES, *UNREAD) or path.name.startswith("."):
                continue
            try:
                status = path.stat()
            except OSError:  # it is gone
                continue
            version = _Version(status.st_size, status.st_mtime_ns)
            begun, end = known.get((_stored_path(path), *version), (NEVER_REACHED, NEVER_REACHED))
            if end <= first:
                continue
            before = self._seen.get(path)
            seen[path] = (version, before[1] if before and before[0] == version else now)
            if now - seen[path][1] >= SETTLED_AFTER:
                found.append((begun, version.mtime, path, version))  # those that a killed monitor had begun come first
        self._seen = seen
        return [(path, version) for *_, path, version in sorted(found)]

    def _heard(self, path: Path, version: _Version, first: int) -> Iterator[Block | None]:
        """Yield the sound of a file from sample `first` on, where a monitor that was killed had begun it."""
        ((begun,),) = self.database.read(
            "SELECT min(first) FROM heard WHERE station = ? AND path = ? AND size = ? AND mtime = ?",
            (self.station, _stored_path(path), *version),
        )
        begin = first if begun is None else begun
        self._note(path, version, begin, NEVER_REACHED)
        at, fault = max(begin, first), ""
        try:
            with recording(path, self.full_scale, at - begin) as found:
                self.rate, self.channels = found.rate, found.channels
                for samples in found.blocks:
                    if self.stopped:
                        return
                    yield Block(at, samples, found.began + (at - begin) / found.rate)
                    at += samples.shape[1]
        except UnreadableClip as reason:
            fault = str(reason)
            log.warning("%s: %s", printable(path), reason)
        self._note(path, version, begin, at, fault)
        yield None

    def _note(self, path: Path, version: _Version, first: int, end: int, fault: str = "") -> None:
        with self.database.changes() as connection:
            row = (self.station, _stored_path(path), *version, first, end, fault)
            connection.execute("REPLACE INTO heard VALUES (?, ?, ?, ?, ?, ?, ?)", row)
