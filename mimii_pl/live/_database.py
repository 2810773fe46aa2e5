"""The database of a monitor: SQLite that a kill at any moment leaves whole, for several threads and processes."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mimii_pl.core.databases import WAIT
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY, machine TEXT NOT NULL, machine_id TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, start REAL NOT NULL, end REAL NOT NULL,
    open INTEGER NOT NULL, level INTEGER NOT NULL, highest INTEGER NOT NULL,
    score REAL, p_value REAL, low_hertz REAL, high_hertz REAL,
    reason TEXT NOT NULL, model TEXT NOT NULL,
    acknowledged REAL, mark TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', marked REAL,
    sound TEXT NOT NULL DEFAULT '', sound_at REAL, rate INTEGER,
    UNIQUE (machine, machine_id, first, start)
);
CREATE UNIQUE INDEX one_open ON events (machine, machine_id) WHERE open;
CREATE INDEX by_start ON events (start);
CREATE TABLE history (
    machine TEXT NOT NULL, machine_id TEXT NOT NULL, step INTEGER NOT NULL, at INTEGER NOT NULL,
    windows INTEGER NOT NULL, judged INTEGER NOT NULL, score_sum REAL NOT NULL, score_max REAL,
    p_sum REAL NOT NULL, p_min REAL, level_sum REAL NOT NULL, leveled INTEGER NOT NULL,
    state TEXT NOT NULL, alarm INTEGER NOT NULL,
    PRIMARY KEY (machine, machine_id, step, at)
) WITHOUT ROWID;
CREATE TABLE health (id INTEGER PRIMARY KEY, at REAL NOT NULL, machine TEXT NOT NULL, line TEXT NOT NULL);
CREATE TABLE states (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, output TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL,
    UNIQUE (output, key)
);
"""


class Database:
    """One connection, which threads take in turn; other processes may have their own.

    Args:
        path: made if it is missing.

    Raises:
        InputError: it cannot be made or opened, or is of a later version.
    """

    def __init__(self, path: Path) -> None:
        require_writable(path.parent, "events=<another folder>")
        self.path, self._lock, self._depth = path, threading.RLock(), 0
        try:
            self._connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            with self.changes():
                self._make()
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be used: {error}. Move it away, or choose another folder") from None

    def _make(self) -> None:
        ((version,),) = self.read("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise InputError(f"{self.path} is of a later version of mimii_pl: update it, or use another folder")
        if version == 0:
            for statement in SCHEMA.split(";\n"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def changes(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Make changes that are stored together or not at all; within another such block they are part of it.

        Args:
            durable: wait until the disk has them: a power cut takes none of them back, as a kill never does.
        """
        with self._lock:
            if self._depth:
                yield self._connection
                return
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Return the rows of a query."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()
