"""Recordings that a CSV lists, one line each: path, label, split and whatever else is known."""

import csv
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import SUFFIXES
from mimii_pl.dataset._clip import Clip, restrict
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.dataset._spellings import CONDITIONS, SPLITS

log = logging.getLogger(__name__)
COLUMN_NAMES = {  # part of a clip -> usual names of its column
    "path": ("path", "file", "filename", "file_name", "file_id", "wav"),
    "condition": ("condition", "label", "abnormal", "anomalous", "anomaly", "is_anomaly"),
    "split": ("split", "subset", "set"),
    "machine": ("machine", "machine_type", "type"),
    "id": ("id", "machine_id", "section"),
    "domain": ("domain",),
    "recording": ("recording",),
}
WORDS = {"condition": CONDITIONS, "split": SPLITS}
VALUES_NAMED = 10  # missing files in the log


class Table(MachineSounds):
    """A CSV (comma, semicolon or tab) with a header; columns are found by their usual names, in any case.

    - path (`path`, `file`, `file_name`, `file_id`, ...): from `sounds`, or absolute; the suffix may be left out.
    - condition (`label`, `abnormal`, ...), optional: normal, ok, healthy or 0; anomaly, abnormal, faulty, ng or 1;
      empty where it is not known. Without the column every recording is normal.
    - split (optional; needed by `protocol=official`): train, validation (valid, val) or test.
    - machine, id, domain (optional): one machine (`machine=<name>`) with one ID where they are not there.
    - recording (optional): what clips were cut from; a protocol keeps the clips of a recording on one side.

    Any other column becomes an attribute.

    Args:
        sounds: folder that relative paths start from; None: the CSV's.
        columns: part of a clip -> column, where the usual names do not fit (None: found by name).
        options: root (the CSV, or the folder with `label.csv`), machine, protocol and the others of `MachineSounds`.
    """

    def __init__(self, *, sounds: str | None = None, columns: dict | None = None, **options) -> None:
        super().__init__(**options)
        self.table = self.root / "label.csv" if self.root.is_dir() else self.root
        self.sounds = Path(sounds) if sounds else self.table.parent
        self.columns = {part: column for part, column in (columns or {}).items() if column}
        if unknown := self.columns.keys() - COLUMN_NAMES:
            raise InputError(
                f"dataset.columns.{unknown.pop()}: a clip has no such part. It has: {', '.join(COLUMN_NAMES)}"
            )

    def discover(self) -> list[Clip]:
        if not self.table.is_file():
            raise InputError(f"{self.table.resolve()} is missing: set dataset.root=<a CSV with a header>")
        with self.table.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            rows = csv.DictReader([header, *file], delimiter=max(",;\t", key=header.count))
            clips = list(self._clips(rows, self._found(rows.fieldnames or ())))
        if not clips:
            raise InputError(f"{self.table} lists no recordings")
        sides: dict[bool, list[Clip]] = {True: [], False: []}
        for clip in clips:
            sides[clip.path.is_file()].append(clip)
        kept, missing = sides[True], sides[False]
        if not kept:
            raise InputError(
                f"none of the {len(clips)} files in {self.table} is there; the first: {clips[0].path}. "
                "Set dataset.sounds=<the folder that the paths start from>"
            )
        for clip in missing[:VALUES_NAMED]:
            log.warning("%s: listed in %s and not there", clip.path, self.table)
        if missing:
            log.warning("%d of %d files in %s are missing: left out", len(missing), len(clips), self.table)
            if self.strict:
                raise InputError(
                    f"{len(missing)} files in {self.table} are missing (dataset.strict=false would leave them)"
                )
        return restrict(kept, self.machine, self.root)

    def _found(self, header: Iterable[str]) -> dict[str, str]:
        """Part of a clip -> the column that holds it."""
        names = {str(name).strip().lower(): name for name in header}
        found = {
            part: names[alias] for part in COLUMN_NAMES for alias in reversed(COLUMN_NAMES[part]) if alias in names
        }
        for part, column in self.columns.items():
            if column not in names.values():
                raise InputError(f"{self.table} has no column {column!r}; it has: {', '.join(names.values())}")
            found[part] = column
        if "path" not in found:
            raise InputError(
                f"{self.table} has no column with the files: none of {', '.join(COLUMN_NAMES['path'])} is among "
                f"{', '.join(names.values()) or 'nothing'}. Name it: dataset.columns.path=<column>"
            )
        return found

    def _clips(self, rows: csv.DictReader, found: dict[str, str]) -> Iterator[Clip]:
        others = [name for name in rows.fieldnames or () if name not in found.values()]
        alone = "machine" if self.machine == "all" else self.machine  # the name where no column tells it
        seen: dict[Path, int] = {}
        for row in rows:
            line = rows.line_num
            cells = {part: (row[column] or "").strip() for part, column in found.items()}
            if not cells["path"]:
                raise InputError(f"{self.table}, line {line}: no file is named")
            for part, words in WORDS.items():
                cells[part] = self._word(cells[part], part, words, line) if part in found else ""
            path = self._file(cells["path"])
            if path in seen:
                raise InputError(f"{self.table}, line {line}: {path} stands in line {seen[path]} already")
            seen[path] = line
            attributes = {name: row[name] for name in others if row[name]}
            if cells.get("recording"):
                attributes["recording"] = cells["recording"]
            yield Clip(
                path, cells.get("machine") or alone, cells.get("id") or "id_00", cells.get("domain", "").lower(),
                cells["condition"] if "condition" in found else "normal", cells["split"], attributes,
            )  # fmt: skip

    def _word(self, text: str, part: str, words: dict[str, str], line: int) -> str:
        if text.lower() not in words:
            known = ", ".join(word for word in words if word)
            raise InputError(f"{self.table}, line {line}: {text!r} is no {part}. Known: {known}")
        return words[text.lower()]

    def _file(self, name: str) -> Path:
        path = self.sounds / name
        if path.suffix.lower() in SUFFIXES:
            return path
        candidates = [path.with_name(path.name + suffix) for suffix in sorted(SUFFIXES, reverse=True)]
        return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
