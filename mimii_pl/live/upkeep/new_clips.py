"""New recordings as clips of a run: of a folder or list, or of a table of marks."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.dataset import ClipRows, _audio
from mimii_pl.dataset._channels import ALL_CHANNELS, channel_path, split_channel
from mimii_pl.dataset._clip import Condition, clip_name, split_name
from mimii_pl.dataset._files import listed_file, listed_rows
from mimii_pl.dataset._own import DIVIDED_FROM
from mimii_pl.dataset._spellings import Conditions, cell_condition, folded, listed_fields
from mimii_pl.dataset._stream import starts_of
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.bulk.recordings import full_id, recordings

log = logging.getLogger(__name__)
UNSURE = ("unsure", "unknown", "")  # marks that say nothing


class MarkedFile(NamedTuple):
    """A recording, and what is known of it.

    Attributes:
        path: file, or a part of one: `night.wav#t=120`.
        machine_id: as the source gives it; empty: the one that the path tells.
        condition: of a person, or that of the folder it was given in.
        marked: whether a person said so of this recording.
        recording: that it was cut from; empty: its own file.
    """

    path: str
    machine_id: str
    condition: Condition
    marked: bool
    recording: str = ""


class NewClips(NamedTuple):
    """N clips of new recordings; longer ones are divided, and with `channel=all` each channel is a clip.

    Attributes:
        names: of the clips, as tables name them.
        ids: numbers of their machine IDs [N].
        anomalous: [N] bool, marked as a fault.
        marked: [N] bool, a person marked the recording.
        recordings: that each is a part of.
        sources: file, or part of one, that each was given by.
        waves: int16 [N, samples].
        digests: SHA-256 of the samples of each.
        skipped: (file, reason) of what could not be read.
    """

    names: list[str]
    ids: np.ndarray
    anomalous: np.ndarray
    marked: np.ndarray
    recordings: list[str]
    sources: list[str]
    waves: ClipRows
    digests: list[str]
    skipped: list[tuple[str, str]]

    def of(self, rows: np.ndarray) -> "NewClips":
        """Select clips by a mask [N]."""
        texts = self.names, self.recordings, self.sources, self.digests
        lists = [[own[row] for row in np.flatnonzero(rows)] for own in texts]
        waves = ClipRows(self.waves, np.flatnonzero(rows))
        figures = self.ids[rows], self.anomalous[rows], self.marked[rows]
        return NewClips(lists[0], *figures, lists[1], lists[2], waves, lists[3], self.skipped)

    @property
    def rows_of_sources(self) -> list[list[int]]:
        """The rows of the clips of each source."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.sources):
            rows.setdefault(name, []).append(row)
        return list(rows.values())


def given_files(source: str) -> list[MarkedFile]:
    """List the recordings of a file, folder or list, all of them said to be normal; errors as for `recordings`."""
    return [MarkedFile(own.path, own.machine_id, "normal", False) for own in recordings(Path(source))]


def marked_files(table: str) -> list[MarkedFile]:
    """Read a table of marks: a recording and a mark per line; those without a mark, and unsure ones, are left out.

    Columns are named as for `dataset=table`: a path, a mark (`label`: normal, ok ...; fault, anomaly ...; unsure, or
    empty), and optionally machine and ID.

    Raises:
        InputError: it cannot be read, lacks a column, has another mark, or marks nothing.
    """
    path = Path(table)
    if not path.is_file():
        raise InputError(f"marks={table}: there is no such file")
    rows = listed_rows(path, str(path.parent))
    _, header = next(rows, (0, []))
    columns = listed_fields(header)
    if missing := [name for name in ("path", "condition") if name not in columns]:
        names = {"path": "path", "condition": "label"}
        hint = ". For the sound of a monitor's events, take marks.zip of its page" if "event" in header else ""
        raise InputError(
            f"marks={table}: it has no column `{names[missing[0]]}`; it has: {', '.join(header) or 'none'}{hint}"
        )
    place = {field: header.index(column) for field, column in columns.items()}
    marks, without = [], 0
    for line, cells in rows:
        values = {field: cells[at].strip() if at < len(cells) else "" for field, at in place.items()}
        if folded(values["condition"]) in UNSURE:
            without += 1
            continue
        condition = cell_condition(Conditions(), columns["condition"], values["condition"])
        if not condition or not values["path"]:
            told = printable(values["condition"]) if values["path"] else "no path"
            raise InputError(f"marks={table}, line {line}: {told!r}: a mark is normal, fault, unsure or empty")
        id_ = full_id(values.get("id", ""), values.get("machine", "")) if values.get("id") else ""
        marks.append(
            MarkedFile(listed_file(str(path.parent), values["path"]), id_, condition, True, values.get("recording", ""))
        )
    first: dict[str, MarkedFile] = {}
    for mark in marks:
        if first.setdefault(mark.path, mark).condition != mark.condition:
            raise InputError(f"marks={table}: {printable(mark.path)} is marked normal and fault: which is it?")
    if not marks:
        column = columns["condition"]
        raise InputError(
            f"marks={table}: none of its {without} recordings is marked: write normal or fault into {column}"
        )
    if without:
        log.info("%s: %d recordings without a mark, or unsure: left out", table, without)
    return marks


def read_new(scorer: BaseScorer, files: Iterable[MarkedFile], machine_id: str | None = None) -> NewClips:
    """Read recordings as clips of a run, into a temporary file; what cannot be read is named and skipped.

    Args:
        machine_id: ID of those that are given none; None: the one that the path tells.

    Raises:
        InputError: a machine ID is unknown, or nothing can be read.
    """
    files = list({os.path.realpath(file.path): file for file in files}.values())  # the last mark counts
    numbers = [_number(scorer, file, machine_id) for file in files]
    names: list[str] = []
    owners: list[int] = []
    digests: list[str] = []
    skipped: list[tuple[str, str]] = []
    with tempfile.TemporaryFile() as store:
        for row, file in enumerate(with_bar(files, "reading recordings")):
            try:
                parts = list(_parts(scorer, file.path))
            except _audio.UnreadableClip as reason:
                skipped.append((file_cell(file.path), str(reason)))
                continue
            for name in parts:
                try:
                    wave = scorer.read(Path(name)).wave
                except InputError as error:
                    skipped.append((file_cell(name), str(error).removeprefix(f"{name}: ")))
                    continue
                store.write(wave.tobytes())
                names.append(name)
                owners.append(row)
                digests.append(hashlib.sha256(wave.tobytes()).hexdigest())
        for path, fault in skipped:
            log.warning("skipped %s: %s", printable(path), printable(fault))
        if not names:
            raise InputError(f"none of {len(files)} new recordings can be used; the first, {': '.join(skipped[0])}")
        store.flush()
        waves = np.memmap(store, np.int16, "r", shape=(len(names), scorer.samples))
    own = [files[row] for row in owners]
    return NewClips(
        names,
        np.array([numbers[row] for row in owners]),
        np.array([file.condition == "anomaly" for file in own]),
        np.array([file.marked for file in own]),
        [file.recording or str(split_channel(split_name(file.path)[0])[0]) for file in own],
        [file.path for file in own],
        ClipRows(waves, np.arange(len(names))),
        digests,
        skipped,
    )


def _number(scorer: BaseScorer, file: MarkedFile, machine_id: str | None) -> int:
    path = split_name(file.path)[0]
    told = file.machine_id or machine_id or scorer.machine_ids.of(path)
    try:
        number = int(scorer.id_numbers(told, 1)[0])
    except InputError as error:
        raise InputError(f"{printable(file.path)}: {error}. Give machine_id=<one of them>") from None
    if number < 0:
        known = ", ".join(scorer.labels)
        raise InputError(f"{printable(file.path)}: of which machine ID? Give machine_id=<one of {known}>")
    return number


def _parts(scorer: BaseScorer, path: str) -> Iterator[str]:
    """Yield the names of the clips of a recording: its parts if it is longer than a clip, and their channels."""
    file, start = split_name(path)
    starts: list[float | None] = [start]
    if start is None:
        frames, rate = _audio.length(file)
        if frames / rate > DIVIDED_FROM * scorer.seconds:
            form = {"sample_rate": scorer.sample_rate, "samples": scorer.samples, "hop": scorer.samples}
            starts = [frame / rate for frame in starts_of(frames, rate, **form)]
    channels = [file]
    if split_channel(file, scorer.channel)[1] == ALL_CHANNELS:
        channels = [channel_path(file, number) for number in range(_audio.count_channels(file))]
    for own in starts:
        yield from (clip_name(channel, own) for channel in channels)
