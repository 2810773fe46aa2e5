"""Progress of a cache that is written, kept beside it: a killed writer is continued where it was."""

import json
import os
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mimii_pl.core.files import write_text
from mimii_pl.dataset._audio import OutOfScale, UnreadableClip

CHECKPOINT = 1 << 26  # bytes of samples between two notes
JOURNAL_FILE = "journal.jsonl"


class Fault(NamedTuple):
    """A clip that cannot be used: its name, the reason, and for samples beyond full scale, fault and peak."""

    name: str
    reason: str
    fault: str = ""
    peak: float = 0.0

    @classmethod
    def of(cls, name: str, reason: UnreadableClip) -> "Fault":
        """Describe an error."""
        scale = (reason.fault, reason.peak) if isinstance(reason, OutOfScale) else ()
        return cls(name, str(reason), *scale)


@dataclass
class Journal:
    """Clips that have been written.

    Attributes:
        rows: index of the clip that each row holds, rising.
        digests, recorded, peak: see `WaveCache`.
        faults: clips that cannot be used.
        done: number of clips that are dealt with.
    """

    rows: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)
    peak: int = 0
    faults: list[Fault] = field(default_factory=list)
    done: int = 0
    _noted: tuple[int, int] = (0, 0)  # rows and faults in the file

    @classmethod
    def read(cls, folder: Path, clip_bytes: int) -> "Journal":
        """Read the notes of a killed writer as far as they are whole and their samples are there."""
        journal, path, waves = cls(), folder / JOURNAL_FILE, folder / "waves.int16"
        if not path.is_file() or not waves.is_file():
            return journal
        written = waves.stat().st_size
        for line in path.read_text().split("\n")[:-1]:
            try:
                kept, rows, digests, recorded, peak, faults, done = json.loads(line)
                faults = [Fault(*fault) for fault in faults]
            except (ValueError, TypeError):  # cut by a power failure
                break
            if (kept + len(rows)) * clip_bytes > written:
                break
            journal.keep(kept)
            journal.rows += rows
            journal.digests += digests
            journal.recorded += recorded
            journal.faults += faults
            journal.peak, journal.done = peak, done
        write_text(path, journal._line(0, 0) if journal.done else "")
        journal._noted = len(journal.rows), len(journal.faults)
        return journal

    @property
    def unnoted(self) -> int:
        """Number of rows that the file does not have."""
        return len(self.rows) - self._noted[0]

    def keep(self, rows: int) -> None:
        """Forget the rows from a number on."""
        del self.rows[rows:], self.digests[rows:], self.recorded[rows:]
        self._noted = min(rows, self._noted[0]), self._noted[1]

    def before(self, clip: int) -> int:
        """Return the number of rows of the clips before one."""
        return bisect_left(self.rows, clip)

    def note(self, folder: Path, waves: BinaryIO) -> None:
        """Put samples on the disk, and then a note of them."""
        waves.flush()
        os.fsync(waves.fileno())
        with (folder / JOURNAL_FILE).open("a") as file:
            file.write(self._line(*self._noted))
        self._noted = len(self.rows), len(self.faults)

    def _line(self, rows: int, faults: int) -> str:
        """Write down what is new since so many rows and faults."""
        news = self.rows[rows:], self.digests[rows:], self.recorded[rows:], self.peak, self.faults[faults:], self.done
        return json.dumps([rows, *news]) + "\n"
