"""Atomic writes: into a temporary file, flushed to the disk, then renamed. Nothing read back can execute code."""

import csv
import ctypes
import errno
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

from mimii_pl.core.errors import InputError, damaged, not_written
from mimii_pl.core.foreign import write_rows

if TYPE_CHECKING:
    import numpy as np  # reads its number of threads when it is imported: after `main` has set it

_V = TypeVar("_V")
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; file names that are not UTF-8 keep their bytes."""
    write_bytes(path, text.encode(errors="surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically: neither a reader nor a power cut ever sees half a file.

    Raises:
        InputError: the disk is full, or the file may not be written; what was there before stays.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_arrays(path: Path, arrays: "dict[str, np.ndarray]") -> None:
    """Write named arrays as npz, atomically."""
    import numpy as np

    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes every keyword for `allow_pickle`


def require_writable(folder: Path, instead: str, files: Iterable[str] = (), *, room: int = 0) -> None:
    """Make a folder if it is missing, and write and remove a small file there, before there is work to lose.

    Only trying tells: root ignores modes, and a mount, a quota or an immutable folder has none.

    Args:
        folder: where a command is going to write.
        instead: option that names another folder, as one types it: `dataset.cache_dir=<another folder>`.
        files: names in the folder that the command replaces where they exist.
        room: bytes that it is going to write.

    Raises:
        InputError: the folder or one of the files cannot be written, or the disk has less room.
    """
    place = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".trial-") as trial:
            trial.write(bytes(4096))
            trial.flush()
            os.fsync(trial.fileno())
        for place in map(folder.joinpath, files):
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if place.is_file() and not place.is_symlink():  # a link would be replaced, not what it leads to
                place.open("r+b").close()
    except OSError as error:
        raise not_written(place, error, instead) from error
    if (free := shutil.disk_usage(folder).free) < room:
        needed = f"{room / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free"
        raise InputError(f"{folder}: the disk is too small: {needed}. Free some space, or set {instead}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file that then replaces `path`; on an error it is removed and `path` stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # several processes may write at once
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a copy of a folder, whose files are links to the same content, that then replaces the folder as a whole.

    Files are to be replaced in it (`write_text`), never changed in place. A reader, or a kill at any moment, finds
    either all old files or all new ones; where a system cannot exchange two folders at once, a kill between two renames
    leaves the new folder beside the place of the old one.
    """
    staging, aside = folder.parent / f".{folder.name}.partial", _aside(folder)
    if aside.exists() and not folder.exists():  # a kill between the two renames of `_exchange`
        os.rename(aside, folder)
    new = staging / folder.name  # one level down: no `<sweep>/*/run.json` finds it
    shutil.rmtree(staging, ignore_errors=True)  # left by a killed process, as callers hold the folder's lock
    try:
        shutil.copytree(folder, new, symlinks=True, copy_function=_link)
        yield new
        _exchange(new, folder)
    except OSError as error:
        named = Path(str(error.filename))  # in the copy, which is no place for the user to look
        place = folder / named.relative_to(new) if named.is_relative_to(new) else folder
        raise not_written(place, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _exchange(one: Path, other: Path) -> None:
    """Put one folder in the place of another in one step; by two renames where the system has no call for it."""
    if sys.platform.startswith("linux"):
        renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if renameat2 and not renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
            return
    aside = _aside(other)
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(aside, other)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def flush(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """Read named arrays; arrays that would have to be unpickled, or take more memory than the file, are refused.

    Raises:
        InputError: the file is missing or damaged.

    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(Path(folder, "a.npz"), {"mean": np.zeros(2)})
    ...     read_arrays(Path(folder, "a.npz"))
    {'mean': array([0., 0.])}
    """
    import numpy as np

    with damaged(path), path.open("rb") as file:
        require_stored(file)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def require_stored(file: IO[bytes]) -> None:
    """Raise ValueError if a zip, as npz and checkpoints are, is compressed: it could expand to any size."""
    with zipfile.ZipFile(file) as parts:
        if part := next((part for part in parts.infolist() if part.compress_type != zipfile.ZIP_STORED), None):
            raise ValueError(f"{part.filename} is compressed, as no run writes it")
    file.seek(0)


class KeptValue(Generic[_V]):
    """A value that takes seconds to compute, kept in a file of a folder beside what it was computed from.

    Args:
        folder: of the file.
        name: of the value, with which the file begins.
        key: all that the value depends on; increase a number in it when the computation changes.
        validate: raises an exception for what is not such a value.
    """

    def __init__(self, folder: Path, name: str, key: Any, validate: Callable[[Any], object]) -> None:
        digest = hashlib.sha256(json.dumps(key).encode(errors="surrogateescape")).hexdigest()
        self.path, self.validate = folder / f"{name}-{digest[:24]}.json", validate

    @property
    def known(self) -> bool:
        """Return whether it need not be computed."""
        return self._read() is not None

    def get(self, compute: Callable[[], _V]) -> _V:
        """Return the value as JSON keeps it; compute it if it is not there, damaged, or cannot be written."""
        if (known := self._read()) is not None:
            return known
        text = json.dumps(compute())
        with suppress(InputError):
            write_text(self.path, text)
        computed: _V = json.loads(text)
        return computed

    def _read(self) -> _V | None:
        try:
            value: _V = json.loads(self.path.read_text("utf-8"))
            self.validate(value)
        except Exception:  # it is not there, or damaged in whatever way
            return None
        return value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as csv, atomically; lines end with a newline alone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_csv(Path(folder, "scores.csv"), ("file", "score"), [("a.wav", 0.5)])
    ...     Path(folder, "scores.csv").read_text()
    'file,score\\na.wav,0.5\\n'
    """
    text = io.StringIO()
    write_rows(text, chain([header], rows))
    write_text(path, text.getvalue())


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the named columns of rows as csv; a column that a row lacks stays empty."""
    write_csv(path, columns, ([row.get(name, "") for name in columns] for row in rows))


def stored_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of a csv that we wrote.

    Raises:
        InputError: it is missing, damaged, or lacks one of the columns.
    """
    with damaged(path), path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.DictReader(file, strict=True)
        if set(columns) - set(rows.fieldnames or ()):
            raise ValueError(f"expected the columns {', '.join(columns)}, found {rows.fieldnames}")
        return list(rows)
