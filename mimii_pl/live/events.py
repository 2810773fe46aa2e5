"""Events of machines that are listened to, with sound, marks and history, in a folder that a kill leaves whole."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.live._database import Database
from mimii_pl.live._sounds import EventSounds
from mimii_pl.live._trends import Trends, or_nan
from mimii_pl.live.windows import AlarmChange, AlarmLevel, ScoredWindow

EVENT_MARKS = ("normal", "fault", "unsure")
LONGEST_NOTE = 2000  # characters
HEALTH_LINES = 10_000  # that are kept
log = logging.getLogger(__name__)


class StoredEvent(NamedTuple):
    """An event of a machine: from the first window that raised a level until it was left.

    Attributes:
        id: its number, which its files are named by.
        machine, machine_id: as the monitor names them.
        first, last: numbers of its first sample and of the sample after its last.
        start, end: unix times of these in s; end is so far while it is open.
        open: whether it goes on.
        level, highest: of the alarm: now, and at its highest.
        score, p_value, low_hertz, high_hertz: of the window with the highest score; NaN if there is none.
        reason: of the highest level, in words.
        model: version of the model.
        acknowledged: unix time; None: it is not.
        mark: of a person: `normal`, `fault`, `unsure`; empty: none.
        note: of that person, any text.
        marked: unix time of the mark; None: there is none.
        sound: `kept`, `deleted` (for want of space), or empty: none was attached.
        sound_at: unix time of the first sample of the sound in s.
        rate: of the sound in Hz.
    """

    id: int
    machine: str
    machine_id: str
    first: int
    last: int
    start: float
    end: float
    open: bool
    level: AlarmLevel
    highest: AlarmLevel
    score: float
    p_value: float
    low_hertz: float
    high_hertz: float
    reason: str
    model: str
    acknowledged: float | None
    mark: str
    note: str
    marked: float | None
    sound: str
    sound_at: float | None
    rate: int | None

    @property
    def key(self) -> str:
        """Name that no other event of any machine has."""
        return f"{self.machine}/{self.machine_id}/{self.first}/{self.start:.3f}"


class HealthLine(NamedTuple):
    """Something that happened to a source, the model or the disk.

    Attributes:
        at: unix time in s.
        machine: empty: the monitor itself.
        line: in words.
    """

    at: float
    machine: str
    line: str


class EventStore:
    """Events, history and state of a monitor in a folder: `events.db`, `sound/` and `spectrogram/`.

    Every change is stored as a whole or not at all, and the changes within `together` likewise, whenever the process
    ends. Names and notes may be any text: files are named by the event's number alone. Threads may share a store;
    another process has its own.

    Args:
        folder: made if it is missing.
        max_mb: MB of sound and spectrograms; the oldest are deleted, those of marked events last.

    Attributes:
        trends: history of windows.

    Raises:
        InputError: the folder cannot be written, or its database is damaged or of a later version.
    """

    def __init__(self, folder: Path, max_mb: float = 1000.0) -> None:
        if not max_mb > 0:
            raise InputError(f"max_mb={max_mb:g}: should be above 0")
        self.folder = folder
        self.database = Database(folder / "events.db")
        self.trends = Trends(self.database)
        self._sounds = EventSounds(folder, self.database, max_mb)

    @contextmanager
    def together(self, durable: bool = False) -> Iterator[None]:
        """Store all changes of a block together or not at all.

        Args:
            durable: wait for the disk, so that not even a power cut takes them back.
        """
        with self.database.changes(durable):
            yield

    # --- a machine's event -------------------------------------------------------------------------------------------
    def begin(self, machine: str, machine_id: str, change: AlarmChange, rate: int, model: str) -> StoredEvent:
        """Begin an event; an open one of the machine is extended, and one with the same first sample is reopened.

        Args:
            change: that raised the level.
            rate: samples in a second of the source.
            model: version of the model.
        """
        if event := self.open_event(machine, machine_id):
            return self.extend(event.id, change.window, rate, change)
        window = change.window
        start = window.at - (window.first - change.first) / rate
        with self.database.changes(durable=True) as connection:
            ((number,),) = connection.execute(
                "INSERT INTO events (machine, machine_id, first, last, start, end, open, level, highest, reason, model)"
                " VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)"
                " ON CONFLICT (machine, machine_id, first, start) DO UPDATE SET open = 1 RETURNING id",
                (
                    *(machine, machine_id, change.first, window.end, start, start),
                    *(int(change.level), int(change.level), change.reason, model),
                ),
            ).fetchall()
            return self.extend(number, window, rate, change)

    def extend(self, number: int, window: ScoredWindow, rate: int, change: AlarmChange | None = None) -> StoredEvent:
        """Extend an event by a window, with the change of level that it causes, if any.

        Args:
            number: of the event.
            rate: samples in a second of the source.
        """
        judged = not math.isnan(window.score)
        with self.database.changes(durable=change is not None) as connection:
            connection.execute(
                "UPDATE events SET last = max(last, ?), end = max(end, ?) WHERE id = ?",
                (window.end, window.at + (window.end - window.first) / rate, number),
            )
            if judged:
                connection.execute(
                    "UPDATE events SET score = ?, p_value = ?, low_hertz = ?, high_hertz = ?"
                    " WHERE id = ? AND (score IS NULL OR score < ?)",
                    (window.score, window.p_value, window.low_hertz, window.high_hertz, number, window.score),
                )
            if change:
                connection.execute(
                    "UPDATE events SET level = ?1, reason = iif(?1 >= highest, ?2, reason), highest = max(highest, ?1),"
                    " acknowledged = iif(?1 > highest, NULL, acknowledged) WHERE id = ?3",
                    (int(change.level), change.reason, number),
                )
        return self.event(number)

    def end(self, number: int) -> StoredEvent:
        """End an event, as the level is left."""
        with self.database.changes(durable=True) as connection:
            connection.execute("UPDATE events SET open = 0, level = 0 WHERE id = ?", (number,))
        return self.event(number)

    def acknowledge(self, number: int, at: float | None = None) -> StoredEvent:
        """Note that a person has seen an event, the first time; `at` is a unix time, None: now."""
        with self.database.changes(durable=True) as connection:
            now = time.time() if at is None else at
            connection.execute("UPDATE events SET acknowledged = coalesce(acknowledged, ?) WHERE id = ?", (now, number))
        return self.event(number)

    def mark(self, number: int, mark: str, note: str = "") -> StoredEvent:
        """Store what a person says of an event; the last mark counts.

        Args:
            mark: one of `EVENT_MARKS`, or empty: none.
            note: any text.

        Raises:
            InputError: there is no such event or mark, or the note is too long.
        """
        if mark not in ("", *EVENT_MARKS):
            raise InputError(f"an event is marked {', '.join(EVENT_MARKS)}, not {mark[:20]!a}")
        if len(note) > LONGEST_NOTE:
            raise InputError(f"a note has at most {LONGEST_NOTE} characters")
        note = note.encode(errors="replace").decode()  # half a surrogate pair is no text
        with self.database.changes(durable=True) as connection:
            connection.execute(
                "UPDATE events SET mark = ?, note = ?, marked = ? WHERE id = ?",
                (mark, note, time.time() if mark else None, number),
            )
        return self.event(number)

    # --- reading -----------------------------------------------------------------------------------------------------
    def event(self, number: int) -> StoredEvent:
        """Return an event.

        Raises:
            InputError: there is none of this number.
        """
        if found := self._events("id = ?", number):
            return found[0]
        raise InputError(f"there is no event {number}")

    def open_event(self, machine: str, machine_id: str) -> StoredEvent | None:
        """Return the event of a machine that goes on, if any."""
        found = self._events("open AND machine = ? AND machine_id = ?", machine, machine_id)
        return found[0] if found else None

    def neighbours(self, event: StoredEvent) -> tuple[int | None, int | None]:
        """Return the numbers of the events before and after one, of any machine; None: there is none."""
        values = (event.start, event.id)
        older = self.database.read(
            "SELECT id FROM events WHERE (start, id) < (?, ?) ORDER BY start DESC, id DESC LIMIT 1", values
        )
        newer = self.database.read(
            "SELECT id FROM events WHERE (start, id) > (?, ?) ORDER BY start, id LIMIT 1", values
        )
        return older[0][0] if older else None, newer[0][0] if newer else None

    def events(
        self,
        *,
        machine: str | None = None,
        machine_id: str | None = None,
        since: float = -math.inf,
        until: float = math.inf,
        marked: bool | None = None,
        limit: int = 200,
    ) -> list[StoredEvent]:
        """List events, the newest first.

        Args:
            machine, machine_id: only of these; None: of all.
            since, until: unix times in s between which they start, the latter excluded.
            marked: True: with a mark, False: without; None: both.
            limit: largest number of them.
        """
        return self._events(
            "start >= ? AND start < ? AND (?3 IS NULL OR machine = ?3) AND (?4 IS NULL OR machine_id = ?4)"
            " AND (?5 IS NULL OR (mark != '') = ?5) ORDER BY start DESC, id DESC LIMIT ?6",
            *(max(since, -1e300), min(until, 1e300), machine, machine_id, marked, limit),
        )

    def _events(self, condition: str, *values: Any) -> list[StoredEvent]:
        rows = self.database.read(f"SELECT {', '.join(StoredEvent._fields)} FROM events WHERE {condition}", values)
        return [_stored(StoredEvent._make(row)) for row in rows]

    # --- sound -------------------------------------------------------------------------------------------------------
    def attach(self, number: int, samples: np.ndarray, rate: int, at: float) -> None:
        """Store the sound of an event, in place of an earlier one, and its spectrogram.

        Args:
            number: of the event.
            samples: int16 [C, T], with what was heard before and after.
            rate: in Hz.
            at: unix time of its first sample in s.

        Raises:
            InputError: there is no such event, or the disk does not take it.
        """
        self.event(number)
        self._sounds.store(number, samples, rate, at)

    def sound_path(self, number: int) -> Path | None:
        """Return the FLAC file of an event; None if it has none, or none any more."""
        return self._sounds.existing(self._sounds.sound_path(number))

    def spectrogram_path(self, number: int) -> Path | None:
        """Return the PNG of an event's spectrogram: time to the right, 0 Hz to half the rate upwards; None as above."""
        return self._sounds.existing(self._sounds.spectrogram_path(number))

    # --- health and states -------------------------------------------------------------------------------------------
    def add_health(self, machine: str, line: str, at: float | None = None) -> None:
        """Note what happened to a machine's source, or (empty) to the monitor; the oldest lines are dropped."""
        with self.database.changes() as connection:
            values = (time.time() if at is None else at, machine, line)
            number = connection.execute("INSERT INTO health (at, machine, line) VALUES (?, ?, ?)", values).lastrowid
            connection.execute("DELETE FROM health WHERE id <= ?", ((number or 0) - HEALTH_LINES,))

    def health(self, machine: str | None = None, limit: int = 200) -> list[HealthLine]:
        """Return lines of health, the newest first."""
        rows = self.database.read(
            "SELECT at, machine, line FROM health WHERE ?1 IS NULL OR machine = ?1 ORDER BY id DESC LIMIT ?2",
            (machine, limit),
        )
        return [HealthLine._make(row) for row in rows]

    def keep_state(self, name: str, state: dict[str, Any]) -> None:
        """Store the state of a part of the monitor by its name, in place of the last one."""
        with self.database.changes() as connection:
            connection.execute("REPLACE INTO states VALUES (?, ?)", (name, json.dumps(state)))

    def state(self, name: str) -> dict[str, Any] | None:
        """Return the state that was stored last; None if there is none."""
        rows = self.database.read("SELECT state FROM states WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def _stored(row: StoredEvent) -> StoredEvent:
    """Give the columns of a row their types."""
    return row._replace(
        open=bool(row.open),
        level=AlarmLevel(row.level),
        highest=AlarmLevel(row.highest),
        score=or_nan(row.score),
        p_value=or_nan(row.p_value),
        low_hertz=or_nan(row.low_hertz),
        high_hertz=or_nan(row.high_hertz),
    )
