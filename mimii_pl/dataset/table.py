"""Recordings listed in a CSV, one per line: path, label, split and any attributes."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._clip import Clip, Condition, Split
from mimii_pl.dataset._files import listed_file, listed_rows
from mimii_pl.dataset._machine_id import MachineIds
from mimii_pl.dataset._own import OwnRecordings
from mimii_pl.dataset._spellings import (
    COLUMN_NAMES,
    SPLITS,
    Conditions,
    cell_condition,
    composed,
    folded,
    listed_fields,
    suggests_fault,
)

log = logging.getLogger(__name__)
MISSING_NAMED = 10  # missing files in the log
CELLS_NAMED = 5  # cells in a message


class Table(OwnRecordings):
    """A CSV (comma, semicolon or tab) with a header; columns are found by their usual names, in any case.

    - path (`path`, `file`, `file_name`, `file_id`, ...): relative to `sounds`, or absolute; the suffix may be omitted.
    - condition (`label`, `abnormal`, `is_normal`, ...), optional: normal, ok, healthy, ...; anomaly, abnormal, defect,
      ...; 1 or 0, yes or no to what the column asks; empty if unknown. Without the column every recording is normal.
    - split (optional; needed by `protocol=official`): train, validation (valid, val) or test.
    - machine, id, domain (optional): without them, one machine (`machine=<name>`) with one ID.
    - recording (optional): recording that clips were cut from; a protocol keeps the clips of a recording in one split.

    Any other column becomes an attribute.

    Args:
        sounds: folder that relative paths start from; None: the folder of the CSV.
        columns: field of a clip -> column, where the usual names do not match; None: found by name; condition `none`:
            no column tells it, every recording is normal.
        normal: further cells of the condition column for normal recordings, or one.
        anomaly: further cells of the condition column for anomalous ones, or one, for example [crack].
        labels: cell of that column -> `normal` or `anomaly`, such as {A: normal, B: anomaly}; joined with the two.
        **options: root (the CSV, or the folder with `label.csv`), machine, protocol and the others of `OwnRecordings`.
    """

    def __init__(
        self,
        *,
        sounds: str | None = None,
        columns: dict | None = None,
        normal: list[str | int] | str | int | None = None,
        anomaly: list[str | int] | str | int | None = None,
        labels: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.conditions = Conditions(normal, anomaly, labels)
        self.table = self.root / "label.csv" if self.root.is_dir() else self.root
        self.sounds = Path(sounds) if sounds else self.table.parent
        self.columns = {field: column for field, column in (columns or {}).items() if column}
        self.unlabelled = self.columns.get("condition") == "none"
        if self.unlabelled:
            del self.columns["condition"]
        if unknown := self.columns.keys() - COLUMN_NAMES:
            raise InputError(
                f"dataset.columns.{unknown.pop()}: a clip has no such field. It has: {', '.join(COLUMN_NAMES)}"
            )

    @classmethod
    def machine_ids(cls, labels: Sequence[str], options: Mapping[str, Any]) -> MachineIds:
        return MachineIds(labels, named=False)

    def discover(self) -> list[Clip]:
        if not self.table.is_file():
            raise InputError(f"{self.table.resolve()} is missing: set dataset.root=<a CSV with a header>")
        rows = listed_rows(self.table, str(self.sounds))
        _, header = next(rows, (0, []))
        columns = self._find_columns(header)
        listed = list(rows)
        cells = {
            name: {row[place].strip() for _, row in listed if len(row) > place} for place, name in enumerate(header)
        }
        if "condition" in columns:
            self._refuse_signs(columns["condition"], cells[columns["condition"]])
            if "condition" not in self.columns:
                self._refuse_contradictions(header, listed, columns["condition"], cells)
        elif not self.unlabelled:
            self._refuse_conditions(cells)
            self._refuse_folders(cells[columns["path"]])
        clips = list(self._clips(listed, header, columns))
        unknown = sum(not clip.condition and clip.split in ("train", "validation") for clip in clips)
        if unknown:
            log.warning("%s: %d training recordings are of unknown condition: taken for normal", self.table, unknown)
        if not clips:
            raise InputError(f"{self.table} lists no recordings: add one line for each below the header")
        if "id" in columns and len(clips) > 2 and len({clip.label for clip in clips}) == len(clips):
            log.warning(
                "%s: every recording has a machine ID of its own: if the column %r numbers rows, call it otherwise",
                self.table,
                columns["id"],
            )
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

    def _refuse_conditions(self, columns: Mapping[str, set[str]]) -> None:
        """Raise InputError for a column of conditions under a name that is not known as such.

        Args:
            columns: name -> cells.
        """
        for name, cells in columns.items():
            if self.conditions.may_be_told(name, cells):
                raise InputError(
                    f"{self.table}: does the column {printable(name)!r} ({_some(cells)}) tell the condition? Set "
                    f"dataset.columns.condition={printable(name)}, or dataset.columns.condition=none if no column does"
                )

    def _refuse_folders(self, paths: Collection[str]) -> None:
        """Raise InputError for folders in the paths that tell faults, where no column tells the condition."""
        for parts in (path.replace("\\", "/").split("/")[:-1] for path in paths):
            for name in parts:
                if self.conditions.of(name) == "anomaly" or suggests_fault(name):
                    raise InputError(
                        f"{self.table}: no column tells the condition, but recordings lie in a folder "
                        f"{printable(name)!r}: set dataset.columns.condition=<the column that tells it>, or none if "
                        "all are normal, or use dataset=folder"
                    )

    def _refuse_signs(self, column: str, cells: set[str]) -> None:
        """Raise InputError for 1 and -1, where 1 may be normal (as scikit-learn has it) or -1 unknown."""
        if cells - {""} == {"1", "-1"} and not {"1", "-1"} & self.conditions.given.keys():
            raise InputError(
                f"{self.table}: the column {printable(column)!r} holds 1 and -1: which are anomalies? Say so: "
                "dataset.anomaly=[-1] dataset.normal=[1], or the other way round"
            )

    def _refuse_contradictions(
        self, header: Sequence[str], rows: Sequence[tuple[int, list[str]]], chosen: str, columns: Mapping[str, set[str]]
    ) -> None:
        """Raise InputError if another column tells the opposite of the one that was found by its name.

        Args:
            chosen: that column.
            columns: name -> cells.
        """
        for other in [name for name in header if name != chosen and self.conditions.may_be_told(name, columns[name])]:
            for line, values in rows:
                row = dict(zip(header, chain(values, repeat("")), strict=False))
                told = {cell_condition(self.conditions, name, row[name]) for name in (chosen, other)}
                if told == {"normal", "anomaly"}:
                    raise InputError(
                        f"{self.table}, line {line}: the columns {printable(chosen)!r} ({printable(row[chosen])}) and "
                        f"{printable(other)!r} ({printable(row[other])}) tell different conditions: set "
                        "dataset.columns.condition=<the one that counts>"
                    )

    def _find_columns(self, header: Sequence[str]) -> dict[str, str]:
        """Find the column of each field of a clip."""
        present = set(map(folded, header))
        if missing := [column for column in self.columns.values() if folded(column) not in present]:
            raise InputError(f"{self.table} has no column {missing[0]!r}; it has: {', '.join(header)}")
        columns = listed_fields(header, self.columns)
        if self.unlabelled:
            columns.pop("condition", None)
        if "path" not in columns:
            raise InputError(
                f"{self.table} has no column of file paths: none of {', '.join(COLUMN_NAMES['path'])} is among "
                f"{', '.join(header) or 'nothing'}. Set dataset.columns.path=<column>"
            )
        return columns

    def _clips(
        self, rows: Iterable[tuple[int, list[str]]], header: Sequence[str], columns: dict[str, str]
    ) -> Iterator[Clip]:
        others = [name for name in header if name not in columns.values()]
        only_machine = "machine" if self.machine == "all" else self.machine  # its name if no column gives one
        seen: dict[Path, int] = {}
        for line, values in rows:
            row = dict(zip(header, chain(values, repeat("")), strict=False))
            cells = {field: row[column].strip() for field, column in columns.items()}
            if not cells["path"]:
                raise InputError(f"{self.table}, line {line}: the file path is empty")
            condition = self._condition(columns.get("condition"), cells.get("condition", "normal"), line)
            split = self._split(cells.get("split", ""), line)
            path = Path(listed_file(str(self.sounds), cells["path"]))
            if path in seen:
                raise InputError(f"{self.table}, line {line}: {path} is already in line {seen[path]}")
            seen[path] = line
            attributes = {name: row[name] for name in others if row[name]}
            if cells.get("recording"):
                attributes["recording"] = cells["recording"]
            yield Clip(
                path,
                composed(cells.get("machine", "")) or only_machine,
                composed(cells.get("id", "")) or "id_00",
                cells.get("domain", "").lower(),
                condition,
                split,
                attributes,
            )

    def _condition(self, column: str | None, cell: str, line: int) -> Condition:
        found = cell_condition(self.conditions, column or "condition", cell)
        if found is None:
            raise InputError(
                f"{self.table}, line {line}: {printable(cell)!r} is not a known condition, such as normal, ok, 0 or "
                f"anomaly, defect, 1. Say what it is: dataset.anomaly=[{printable(cell)}], or dataset.normal=[...]"
            )
        return found

    def _split(self, cell: str, line: int) -> Split:
        if cell.lower() not in SPLITS:
            known = ", ".join(spelling for spelling in SPLITS if spelling)
            raise InputError(f"{self.table}, line {line}: {printable(cell)!r} is not a known split. Known: {known}")
        return SPLITS[cell.lower()]


def _some(cells: Collection[str]) -> str:
    shown = [printable(cell)[:20] for cell in sorted(cells)[:CELLS_NAMED]]
    return ", ".join(shown) + (", ..." if len(cells) > CELLS_NAMED else "")
