"""SQLite databases that other libraries make (MLflow, Optuna): made whole or not at all, and checked before use."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from glob import escape
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import flush

WAIT = 20  # s for another process that holds a database; MLflow waits as long


def sqlite_path(url: str) -> Path | None:
    """Return the absolute path of the file that a SQLite URL names; None for any other database.

    >>> sqlite_path("sqlite:////data/mlflow.db?timeout=5")
    PosixPath('/data/mlflow.db')
    >>> sqlite_path("postgresql://host/runs")
    >>> sqlite_path("sqlite:///:memory:")
    """
    scheme, _, rest = url.partition(":///")
    name = rest.partition("?")[0]
    if scheme.partition("+")[0] != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    return Path(os.path.abspath(name))


def make_whole(path: Path, make: Callable[[str], None]) -> None:
    """Make a missing database under a temporary name and rename it, so that a kill leaves no half of one.

    Args:
        path: of the database; nothing is done if it exists.
        make: creates the database that a URL names, and closes it.

    Raises:
        InputError: the folder cannot be written, or holds the journal of a database that is gone.
    """
    from filelock import FileLock

    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                return
            _refuse_journals(path)
            for leftover in path.parent.glob(f"{escape(path.name)}.*.partial*"):  # of a process that was killed
                leftover.unlink()
            _make_and_rename(path, make)
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error.strerror or error}. Choose another folder") from None


def _make_and_rename(path: Path, make: Callable[[str], None]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        make(f"sqlite:///{partial}")
        flush(partial)
        if not path.exists():  # else another program, such as `mlflow ui`, has begun it in the meantime
            os.replace(partial, path)
            flush(path.parent)
    finally:
        for name in (partial, f"{partial}-journal"):
            Path(name).unlink(missing_ok=True)


def _refuse_journals(path: Path) -> None:
    """Raise InputError for what SQLite would apply to the new database, although it belongs to an earlier one."""
    for journal in (Path(f"{path}-journal"), Path(f"{path}-wal")):
        if journal.exists():
            raise InputError(f"{journal} belongs to a database that is gone: move it to where that is, or delete it")


def query(path: Path, statement: str) -> list[tuple]:
    """Return the rows of a query on an existing database.

    Raises:
        InputError: the file cannot be read, is locked, or is no SQLite database.
    """
    try:
        with closing(_connect(path)) as database:
            return database.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise InputError(f"{path}: {_explain(path, error)}") from None


def require_writable_database(path: Path) -> None:
    """Begin to change an existing database, and take it back; raise InputError as `query` does."""
    try:
        with closing(_connect(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA user_version = {version}")  # needs the folder too, for SQLite's journal
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise InputError(f"{path}: {_explain(path, error)}") from None


def tables(path: Path) -> set[str]:
    """Return the names of the tables of an existing database; raise InputError as `query` does."""
    return {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=WAIT, isolation_level=None)


def _explain(path: Path, error: sqlite3.Error) -> str:
    if path.is_dir():
        return "is a folder, not a database"
    if "locked" in str(error):
        return f"another process has locked it for {WAIT} s: end that process, then start again"
    if "not a database" in str(error) or "malformed" in str(error):
        return f"{error}: move it away, or restore it from a backup"
    return f"{error}: see that it can be read and written"
