"""Atomic writes: into a temporary file that is then renamed. Nothing that is read back can execute code."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically: a reader never sees half a file."""
    with _replacing(path) as partial:
        partial.write_bytes(content)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as npz, atomically."""
    with _replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes every keyword for `allow_pickle`


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file that then replaces `path`; on an error it is removed and `path` stays."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # several processes may write at once
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read named arrays; arrays that would have to be unpickled are refused.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(Path(folder, "a.npz"), {"mean": np.zeros(2)})
    ...     read_arrays(Path(folder, "a.npz"))
    {'mean': array([0., 0.])}
    """
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows as csv, atomically; lines end with a newline alone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_csv(Path(folder, "scores.csv"), ("file", "score"), [("a.wav", 0.5)])
    ...     Path(folder, "scores.csv").read_text()
    'file,score\\na.wav,0.5\\n'
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(path, text.getvalue())


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the named columns of rows as csv; a column that a row lacks stays empty."""
    write_csv(path, columns, ([row.get(name, "") for name in columns] for row in rows))
