"""Finished shards beside the CSV they will become, so that a killed scoring goes on where it was.

<output>.shards/
    list.csv       what is to be scored, one recording a line
    scoring.json   what the shards belong to
    00000012.csv   the rows of the thirteenth shard, written then renamed
    lock           held by the process that scores; the operating system lets go of it if that is killed
"""

import csv
import hashlib
import io
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from pathlib import Path

from mimii_pl.core.errors import InputError, full_disk_says
from mimii_pl.core.files import write_text
from mimii_pl.scoring.bulk.recordings import TEXT_OPTIONS, Recording, read_recordings, write_recordings

log = logging.getLogger(__name__)
CsvRow = Sequence[str]


class Shards:
    """Shards of a scoring into `output`.

    Args:
        output: the CSV that they become.
        size: recordings per shard.
        part: (k, n): the k-th of n equal parts of the recordings alone, counted from 0.
    """

    def __init__(self, output: Path, size: int, part: tuple[int, int] = (0, 1)) -> None:
        self.output, self.size, self.part = output, size, part
        self.folder = output.with_name(output.name + ".shards")
        self.list = self.folder / "list.csv"
        self.first = self.stop = 0  # lines of the list that are ours
        self._begun: dict[int, list[CsvRow]] = defaultdict(list)  # rows of shards that are not whole yet

    @contextmanager
    def opened(self, source: Path, belongs: dict, *, restart: bool = False) -> Iterator["Shards"]:
        """List what is to be scored and keep the shards that are there already; other processes are kept out.

        Args:
            source: recording, folder or list.
            belongs: what the scores depend on, besides the list: what is called -> a value for JSON.
            restart: leave shards that are there.

        Raises:
            InputError: shards of another scoring are there, or another process works on these.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(f"{self.output}: another process is scoring into it. Choose another output=") from None
        try:
            self._open(source, belongs, restart)
            yield self
        finally:
            if not self._manifest():
                self._remove()
            lock.release()

    def _open(self, source: Path, belongs: dict, restart: bool) -> None:
        fresh = self.folder / "list.fresh.csv"
        count = write_recordings(source, fresh)
        with open(fresh, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        number, parts = self.part
        self.first, self.stop = count * number // parts, count * (number + 1) // parts
        belongs = {**belongs, "list of recordings": digest, "shard_size": self.size, "part": [number, parts]}
        known = self._manifest()
        if restart or not known:
            self._clear()
        other = [name for name, value in belongs.items() if known.get(name) != value]
        if other and self._done():
            fresh.unlink()
            raise InputError(
                f"{self.folder} holds {len(self._done())} finished shards of another scoring (not the same: "
                f"{', '.join(other)}). Choose another output=, or leave them and begin anew: restart=true"
            )
        os.replace(fresh, self.list)
        write_text(self.folder / "scoring.json", json.dumps(belongs, indent=2))
        if done := len(self._done()):
            log.info("%s: going on, %d of %d shards are finished", self.output, done, self.total)

    @property
    def total(self) -> int:
        """Number of shards."""
        return -(-len(self) // self.size)

    def __len__(self) -> int:
        """Number of recordings."""
        return self.stop - self.first

    @property
    def finished(self) -> int:
        """Number of recordings in finished shards."""
        return sum(map(self._length, self._done()))

    def missing(self) -> Iterator[tuple[int, list[Recording]]]:
        """Number and recordings of every shard that is not finished; one at a time is in memory."""
        done = self._done()
        ours = islice(read_recordings(self.list), self.first, self.stop)
        for number, lines in groupby(enumerate(ours), key=lambda line: line[0] // self.size):
            if number not in done:
                yield number, [recording for _, recording in lines]

    def add(self, number: int, rows: Sequence[CsvRow]) -> None:
        """Some rows of a shard, in order; written with the last of them."""
        self._begun[number].extend(rows)
        if len(self._begun[number]) == self._length(number):
            with full_disk_says(_full(self.folder)):
                _write(self._path(number), [self._begun.pop(number)])

    def join(self, header: CsvRow, note: Callable[[CsvRow], None]) -> None:
        """Make the CSV from all shards, which then go.

        Args:
            note: is called with every row.
        """
        with full_disk_says(_full(self.output.parent)):
            _write(self.output, self._blocks(header, note))
        self._clear()

    def _blocks(self, header: CsvRow, note: Callable[[CsvRow], None]) -> Iterator[list[CsvRow]]:
        yield [header]
        for number in range(self.total):
            rows = list(csv.reader(io.StringIO(self._path(number).read_text(**TEXT_OPTIONS), newline="")))
            if len(rows) != self._length(number):
                self._path(number).unlink()
                raise InputError(f"{self._path(number)} was damaged and is removed: the same command scores it again")
            for row in rows:
                note(row)
            yield rows

    def _length(self, number: int) -> int:
        return min(self.size, len(self) - number * self.size)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.csv"

    def _done(self) -> set[int]:
        return {int(path.stem) for path in self.folder.glob("[0-9]*.csv")}

    def _manifest(self) -> dict:
        path = self.folder / "scoring.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def _clear(self) -> None:
        (self.folder / "scoring.json").unlink(missing_ok=True)  # first: without it no shard is believed
        for path in [*self.folder.glob("[0-9]*.csv"), *self.folder.glob("*.partial")]:
            path.unlink()

    def _remove(self) -> None:
        with suppress(OSError):  # Windows keeps a file that is held; or something there is not ours
            for path in (self.list, self.folder / "list.fresh.csv", self.folder / "lock"):
                path.unlink(missing_ok=True)
            self.folder.rmdir()


def _write(path: Path, blocks: Iterator[list[CsvRow]] | list[list[CsvRow]]) -> None:
    """Rows as a CSV, on disk before it gets its name: a power cut must not leave a hole."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="", **TEXT_OPTIONS) as file:
        table = csv.writer(file, lineterminator="\n")
        for rows in blocks:
            table.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _full(folder: Path) -> str:
    return f"{folder}: no room left. Free some: the same command goes on where it was"
