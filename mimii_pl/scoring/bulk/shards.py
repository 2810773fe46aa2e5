"""Finished shards, kept next to the CSV they will become, so that a killed scoring can be resumed.

<output>.shards/
    list.csv       the recordings to score, one per line
    scoring.json   the inputs that the scores depend on
    00000012.csv   the rows of the thirteenth shard, written then renamed
    00000013-0.scores   with windows=true: scores of windows of a recording that is not finished
    lock           held by the process that scores; the operating system releases it if that process is killed
"""

import csv
import hashlib
import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from pathlib import Path

from mimii_pl.core.errors import InputError, full_disk_says
from mimii_pl.core.files import require_writable, write_text
from mimii_pl.core.foreign import write_rows
from mimii_pl.scoring.bulk.recordings import TEXT_OPTIONS, Recording, read_recordings, write_recordings

log = logging.getLogger(__name__)
LONG_CELL = 1 << 30  # characters
CsvRow = Sequence[str]


class Shards:
    """Shards of a scoring, which become the CSV `output`.

    Args:
        output: the CSV.
        size: recordings per shard.
        part: (k, n): only the k-th of n equal parts of the recordings, counted from 0.
    """

    def __init__(self, output: Path, size: int, part: tuple[int, int] = (0, 1)) -> None:
        self.output, self.size, self.part = output, size, part
        self.folder = output.with_name(output.name + ".shards")
        self.list = self.folder / "list.csv"
        self.first = self.stop = 0  # lines of the list that belong to the part
        self._unfinished: dict[int, list[CsvRow]] = defaultdict(list)  # number of a shard -> its rows so far

    @contextmanager
    def opened(
        self, source: Path, inputs: dict, *, columns: Mapping[str, str] | None = None, restart: bool = False
    ) -> Iterator["Shards"]:
        """List the recordings to score, keep existing shards, and lock the folder against other processes.

        Args:
            source: recording, folder or list.
            inputs: what the scores depend on besides the list: name -> JSON value.
            columns: of a list, see `recordings`.
            restart: discard existing shards.

        Raises:
            InputError: there are shards of a different scoring, or another process is working on these.
        """
        from filelock import FileLock, Timeout

        require_writable(self.folder, "output=<another file>")
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(f"{self.output}: another process is scoring into it. Choose another output=") from None
        try:
            with full_disk_says(_full(self.folder)):
                self._open(source, inputs, columns, restart)
            yield self
        finally:
            if not self._manifest() or not (self._done() or any(self.folder.glob("*.scores"))):
                self._clear()
                self._remove()
            lock.release()

    def _open(self, source: Path, inputs: dict, columns: Mapping[str, str] | None, restart: bool) -> None:
        new_list = self.folder / "list.fresh.csv"
        count = write_recordings(source, new_list, columns)
        with open(new_list, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        number, parts = self.part
        self.first, self.stop = count * number // parts, count * (number + 1) // parts
        inputs = {**inputs, "list of recordings": digest, "shard_size": self.size, "part": [number, parts]}
        stored = self._manifest()
        if restart or not stored:
            self._clear()
        changed = [name for name, value in inputs.items() if stored.get(name) != value]
        if changed and self._done():
            new_list.unlink()
            raise InputError(
                f"{self.folder} holds {len(self._done())} finished shards of a different scoring (changed: "
                f"{', '.join(changed)}). Choose another output=, or discard them: restart=true"
            )
        if changed:
            self._clear()  # scores of unfinished recordings are of the other scoring
        os.replace(new_list, self.list)
        write_text(self.folder / "scoring.json", json.dumps(inputs, indent=2))
        if done := len(self._done()):
            log.info("%s: resumed, %d of %d shards are finished", self.output, done, self.total)

    @property
    def total(self) -> int:
        """Number of shards."""
        return math.ceil(len(self) / self.size)

    def __len__(self) -> int:
        """Number of recordings."""
        return self.stop - self.first

    @property
    def finished(self) -> int:
        """Number of recordings in finished shards."""
        return sum(map(self._length, self._done()))

    def missing(self) -> Iterator[tuple[int, list[Recording]]]:
        """Yield (number, recordings) of every unfinished shard; one shard at a time is in memory."""
        done = self._done()
        recordings = islice(read_recordings(self.list), self.first, self.stop)
        for number, lines in groupby(enumerate(recordings), key=lambda line: line[0] // self.size):
            if number not in done:
                yield number, [recording for _, recording in lines]

    def add(self, number: int, rows: Sequence[CsvRow]) -> None:
        """Add rows of a shard, in order; the shard is written when its last row is added."""
        self._unfinished[number].extend(rows)
        if len(self._unfinished[number]) == self._length(number):
            with full_disk_says(_full(self.folder)):
                _write(self._path(number), [self._unfinished.pop(number)])
                for path in self.folder.glob(f"{number:08d}-*.scores"):
                    path.unlink()

    def join(self, header: CsvRow, note: Callable[[CsvRow], CsvRow], finish: Callable[[], None] = lambda: None) -> None:
        """Join all shards into the CSV and remove them.

        Args:
            note: called with every row; what it returns is written.
            finish: called after the last row; the CSV follows, as a sign that all is written.
        """
        with full_disk_says(_full(self.output.parent)):
            _write(self.output, self._blocks(header, note, finish))
        self._clear()

    def _blocks(
        self, header: CsvRow, note: Callable[[CsvRow], CsvRow], finish: Callable[[], None]
    ) -> Iterator[list[CsvRow]]:
        yield [header]
        for number in range(self.total):
            with open(self._path(number), newline="", **TEXT_OPTIONS) as file, long_cells():
                rows: list[CsvRow] = list(csv.reader(file))
            if len(rows) != self._length(number):
                self._path(number).unlink()
                raise InputError(f"{self._path(number)} was damaged and is removed: the same command scores it again")
            yield [note(row) for row in rows]
        finish()

    def _length(self, number: int) -> int:
        return min(self.size, len(self) - number * self.size)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.csv"

    def _done(self) -> set[int]:
        return {int(path.stem) for path in self.folder.glob("[0-9]*.csv")}

    def _manifest(self) -> dict:
        path = self.folder / "scoring.json"
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text()))
        except (ValueError, TypeError):  # damaged: its shards may be of anything
            log.warning("%s is damaged: every recording is scored again", path)
            return {}

    def _clear(self) -> None:
        (self.folder / "scoring.json").unlink(missing_ok=True)  # first: without it, shards are ignored
        for path in [file for kind in ("[0-9]*.csv", "*.partial", "*.scores") for file in self.folder.glob(kind)]:
            path.unlink()

    def _remove(self) -> None:
        with suppress(OSError):  # Windows cannot remove an open file, or the folder holds other files
            for path in (self.list, self.folder / "list.fresh.csv", self.folder / "lock"):
                path.unlink(missing_ok=True)
            self.folder.rmdir()


@contextmanager
def long_cells() -> Iterator[None]:
    """Read cells of any length: the timeline of a day has millions of characters."""
    usual = csv.field_size_limit(LONG_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _write(path: Path, blocks: Iterator[list[CsvRow]] | list[list[CsvRow]]) -> None:
    """Write blocks of rows as csv, flushed to disk before it is renamed: a power cut must not leave a damaged file."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="", **TEXT_OPTIONS) as file:
        for rows in blocks:
            write_rows(file, rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _full(folder: Path) -> str:
    return f"{folder}: the disk is full. Free some space: the same command resumes after the last finished shard"
