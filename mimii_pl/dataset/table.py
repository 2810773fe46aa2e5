"""Recordings listed in a CSV, one per line: path, label, split and any attributes."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import is_utf8, printable, read_rows
from mimii_pl.dataset._audio import SUFFIXES
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.dataset._spellings import CONDITIONS, SPLITS

_Value = TypeVar("_Value", bound=str)
log = logging.getLogger(__name__)
COLUMN_NAMES = {  # field of a clip -> usual names of its column
    "path": ("path", "file", "filename", "file_name", "file_id", "wav"),
    "condition": ("condition", "label", "abnormal", "anomalous", "anomaly", "is_anomaly"),
    "split": ("split", "subset", "set"),
    "machine": ("machine", "machine_type", "type"),
    "id": ("id", "machine_id", "section"),
    "domain": ("domain",),
    "recording": ("recording",),
}
MISSING_NAMED = 10  # missing files in the log


class Table(MachineSounds):
    """A CSV (comma, semicolon or tab) with a header; columns are found by their usual names, in any case.

    - path (`path`, `file`, `file_name`, `file_id`, ...): relative to `sounds`, or absolute; the suffix may be omitted.
    - condition (`label`, `abnormal`, ...), optional: normal, ok, healthy or 0; anomaly, abnormal, faulty, ng or 1;
      empty if unknown. Without the column every recording is normal.
    - split (optional; needed by `protocol=official`): train, validation (valid, val) or test.
    - machine, id, domain (optional): without them, one machine (`machine=<name>`) with one ID.
    - recording (optional): recording that clips were cut from; a protocol keeps the clips of a recording in one split.

    Any other column becomes an attribute.

    Args:
        sounds: folder that relative paths start from; None: the folder of the CSV.
        columns: field of a clip -> column, where the usual names do not match; None: found by name.
        **options: root (the CSV, or the folder with `label.csv`), machine, protocol and the others of `MachineSounds`.
    """

    def __init__(self, *, sounds: str | None = None, columns: dict | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.table = self.root / "label.csv" if self.root.is_dir() else self.root
        self.sounds = Path(sounds) if sounds else self.table.parent
        self.columns = {field: column for field, column in (columns or {}).items() if column}
        if unknown := self.columns.keys() - COLUMN_NAMES:
            raise InputError(
                f"dataset.columns.{unknown.pop()}: a clip has no such field. It has: {', '.join(COLUMN_NAMES)}"
            )

    def discover(self) -> list[Clip]:
        if not self.table.is_file():
            raise InputError(f"{self.table.resolve()} is missing: set dataset.root=<a CSV with a header>")
        rows = read_rows(self.table)
        _, header = next(rows, (0, []))
        clips = list(self._clips(rows, header, self._find_columns(header)))
        if not clips:
            raise InputError(f"{self.table} lists no recordings: add one line for each below the header")
        kept: list[Clip] = []
        missing: list[Clip] = []
        for clip in clips:
            if os.path.lexists(clip.path):  # what is no file, the decoder names
                kept.append(clip)
            else:
                missing.append(clip)
        if not kept:
            raise InputError(
                f"none of the {len(clips)} files in {self.table} exists; the first: {printable(clips[0].path)}. "
                "Set dataset.sounds=<the folder that relative paths start from>, and save the table as UTF-8"
            )
        for clip in missing[:MISSING_NAMED]:
            log.warning("%s: listed in %s but missing", printable(clip.path), self.table)
        if missing:
            log.warning("%d of %d files in %s are missing: skipped", len(missing), len(clips), self.table)
            if self.strict:
                raise InputError(
                    f"{len(missing)} files in {self.table} are missing: set dataset.strict=false to skip them"
                )
        return sorted(kept, key=lambda clip: str(clip.path))

    def _find_columns(self, header: Iterable[str]) -> dict[str, str]:
        """Find the column of each field of a clip."""
        names = {str(name).strip().lower(): name for name in header}
        columns = {
            field: names[alias] for field in COLUMN_NAMES for alias in reversed(COLUMN_NAMES[field]) if alias in names
        }
        for field, column in self.columns.items():
            if column not in names.values():
                raise InputError(f"{self.table} has no column {column!r}; it has: {', '.join(names.values())}")
            columns[field] = column
        if "path" not in columns:
            raise InputError(
                f"{self.table} has no column of file paths: none of {', '.join(COLUMN_NAMES['path'])} is among "
                f"{', '.join(names.values()) or 'nothing'}. Set dataset.columns.path=<column>"
            )
        return columns

    def _clips(
        self, rows: Iterable[tuple[int, list[str]]], header: Sequence[str], columns: dict[str, str]
    ) -> Iterator[Clip]:
        self._check_text(header, 1)
        others = [name for name in header if name not in columns.values()]
        only_machine = "machine" if self.machine == "all" else self.machine  # its name if no column gives one
        seen: dict[Path, int] = {}
        for line, values in rows:
            row = dict(zip(header, chain(values, repeat("")), strict=False))
            self._check_text((cell for name, cell in row.items() if name != columns["path"]), line)
            cells = {field: row[column].strip() for field, column in columns.items()}
            if not cells["path"]:
                raise InputError(f"{self.table}, line {line}: the file path is empty")
            condition = self._look_up(CONDITIONS, "condition", cells.get("condition", "normal"), line)
            split = self._look_up(SPLITS, "split", cells.get("split", ""), line)
            path = self._file(cells["path"])
            if path in seen:
                raise InputError(f"{self.table}, line {line}: {path} is already in line {seen[path]}")
            seen[path] = line
            attributes = {name: row[name] for name in others if row[name]}
            if cells.get("recording"):
                attributes["recording"] = cells["recording"]
            yield Clip(
                path,
                cells.get("machine") or only_machine,
                cells.get("id") or "id_00",
                cells.get("domain", "").lower(),
                condition,
                split,
                attributes,
            )

    def _check_text(self, cells: Iterable[str], line: int) -> None:
        """Raise InputError for text that is not UTF-8; only paths may be of any bytes."""
        for cell in cells:
            if not is_utf8(cell):
                raise InputError(
                    f"{self.table}, line {line}: {printable(cell)!r} is not UTF-8: save the table as UTF-8"
                )

    def _look_up(self, spellings: dict[str, _Value], field: str, text: str, line: int) -> _Value:
        if text.lower() not in spellings:
            known = ", ".join(spelling for spelling in spellings if spelling)
            raise InputError(f"{self.table}, line {line}: {text!r} is not a known {field}. Known: {known}")
        return spellings[text.lower()]

    def _file(self, name: str) -> Path:
        path = self.sounds / name
        if path.suffix.lower() in SUFFIXES or not path.name:  # `/` has no name
            return path
        candidates = [path.with_name(path.name + suffix) for suffix in sorted(SUFFIXES, reverse=True)]
        return next((candidate for candidate in candidates if os.path.isfile(candidate)), candidates[0])
