"""Marks of people as a data set: the sound of marked events, and a table of them that `dataset=table` reads."""

import io
import logging
import math
import sys
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import MappingProxyType
from typing import BinaryIO

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import replacing, require_writable, write_csv
from mimii_pl.core.foreign import name_fault, write_rows
from mimii_pl.live.events import EventStore, StoredEvent

LABELS_FILE = "labels.csv"
MARK_COLUMNS = ("path", "condition", "machine", "id", "recording")
MARKED_CONDITIONS = {"normal": "normal", "fault": "anomaly"}
TOLD_COLUMNS = ("event", "machine", "id", "start", "end", "level", "score", "p_value", "mark", "note", "marked")
SPREADSHEET_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # first characters
log = logging.getLogger(__name__)


def export_marks(store: EventStore, folder: Path, labels: Mapping[tuple[str, str], str] = MappingProxyType({})) -> Path:
    """Write `labels.csv` and the sound of the events that are marked normal or fault, from their start to their end.

    What was heard before and after an event is left out, as the mark may not be true of it. Events that are marked
    unsure, or whose sound was deleted, are left out too, which is told.

    Args:
        store: of the events.
        folder: made if it is missing; files of the same events are replaced.
        labels: machine IDs of the model, `fan/id_00`, by the names in the monitor; others keep these names.

    Returns:
        The table: `mimii train dataset=table dataset.root=<it>`.

    Raises:
        InputError: no event can be written, or a machine has a name that a table cannot have.
    """
    require_writable(folder, "another folder")
    rows, unsure, silent = [], 0, 0
    for event in reversed(store.events(marked=True, limit=sys.maxsize)):
        condition = MARKED_CONDITIONS.get(event.mark)
        if condition is None:
            unsure += 1
        elif not _write_sound(store, event, folder / f"{event.id}.flac"):
            silent += 1
        else:
            names = event.machine, event.machine_id
            machine, _, machine_id = labels[names].partition("/") if names in labels else (names[0], "/", names[1])
            rows.append((f"{event.id}.flac", condition, _cell(machine), _cell(machine_id), f"event_{event.id}"))
    if unsure or silent:
        log.warning("left out of %s: %d events marked unsure, %d without sound", LABELS_FILE, unsure, silent)
    if not rows:
        raise InputError(f"{store.folder} has no event with sound that is marked normal or fault: mark some first")
    write_csv(folder / LABELS_FILE, MARK_COLUMNS, rows)
    return folder / LABELS_FILE


def zipped_marks(store: EventStore, labels: Mapping[tuple[str, str], str]) -> BinaryIO:
    """Write what `export_marks` writes as a zip; return it as a file without a name, at its beginning.

    Args:
        labels: as `export_marks` has them.

    Raises:
        InputError: as `export_marks`.
    """
    with TemporaryDirectory(prefix="mimii-") as folder:
        export_marks(store, Path(folder), labels)
        file = TemporaryFile()  # noqa: SIM115  (returned)
        with zipfile.ZipFile(file, "w") as archive:  # FLAC is compressed already
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
    file.seek(0)
    return file


def _write_sound(store: EventStore, event: StoredEvent, path: Path) -> bool:
    """Write the part of an event's sound from its start to its end; return False if there is none."""
    import soundfile

    stored = store.sound_path(event.id)
    if stored is None or event.rate is None or event.sound_at is None:
        return False
    first = max(0, round((event.start - event.sound_at) * event.rate))
    last = max(0, round((event.end - event.sound_at) * event.rate))
    samples, rate = soundfile.read(stored, start=first, stop=last, dtype="int16", always_2d=True)
    if not len(samples):
        return False
    with replacing(path) as partial:
        soundfile.write(partial, samples, rate, format="FLAC", subtype="PCM_16")
    return True


def _cell(name: str) -> str:
    if fault := name_fault(name):
        raise InputError(
            f"machine {name!a} cannot be written to {LABELS_FILE}: {fault}. Call it otherwise in the monitor"
        )
    return name


def marks_table(store: EventStore) -> str:
    """Return the events that are marked as csv, the oldest first, times in UTC."""
    file = io.StringIO()
    rows = [
        (
            *(event.id, _no_formula(event.machine), _no_formula(event.machine_id), _iso(event.start), _iso(event.end)),
            *(event.highest.name.lower(), _number(event.score), _number(event.p_value)),
            *(event.mark, _no_formula(event.note), _iso(event.marked)),
        )
        for event in reversed(store.events(marked=True, limit=sys.maxsize))
    ]
    write_rows(file, [TOLD_COLUMNS, *rows])
    return file.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(SPREADSHEET_RUNS) else text


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _iso(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
