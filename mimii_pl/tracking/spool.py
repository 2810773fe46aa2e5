"""Points of a run on their way to MLflow: kept in the run directory, so that none depends on the server."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mimii_pl.core.errors import damaged
from mimii_pl.core.files import write_text

LINE_VALUES = 100  # values of a line at most: MLflow takes 100 parameters per request
BATCH_VALUES = 500  # values of a batch at most: MLflow takes 1000, and a slow server answers in time

Point = tuple[str, float, int, int]  # name, value, step, time in ms


class Unsent(NamedTuple):
    """Values to send together, and the place in the file after them.

    Attributes:
        points: see `Point`.
        params: parameters by name.
        end: bytes of the file up to here.
    """

    points: list[Point]
    params: dict[str, str]
    end: int


def now() -> int:
    """Return the time of a point, in milliseconds since 1970."""
    return int(time.time() * 1000)


class Spool:
    """Two files of a run directory: `mlflow.jsonl` holds points and parameters, `mlflow.sent` what MLflow has of them.

    A point is kept with its time: MLflow ignores a point that it has, so that sending one again changes nothing.

    Args:
        run_dir: the run directory; nothing is written before the first value.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path, self._sent_path = run_dir / "mlflow.jsonl", run_dir / "mlflow.sent"
        self._last: dict[str, tuple[int, float]] | None = None  # name -> step and value
        self._params: set[str] = set()

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Append points. A resumed run logs the steps since its last checkpoint again: these are skipped.

        Raises:
            OSError: the disk is full, or the file cannot be written; it is left as it was.
        """
        last = self._read_last()
        new = {name: value for name, value in values.items() if name not in last or step > last[name][0]}
        for metrics in chunks(new):
            self._append({"time": now(), "step": step, "metrics": metrics})
        last.update({name: (step, value) for name, value in new.items()})

    def add_results(self, values: Mapping[str, float]) -> None:
        """Append figures that a run has once: nothing for a value that is there, a further step for a changed one."""
        last = self._read_last()
        for name, value in values.items():
            step, known = last.get(name, (-1, None))
            if value != known:
                self.add({name: value}, step + 1)

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Append parameters; those that are there keep their value."""
        self._read_last()
        new = {name: str(value) for name, value in params.items() if name not in self._params}
        for chunk in chunks(new):
            self._append({"params": chunk})
        self._params |= new.keys()

    def unsent(self, run_id: str) -> Unsent | None:
        """Return the next values that this MLflow run lacks; None if it has all."""
        start = self._sent(run_id)
        batch = Unsent([], {}, start)
        for line, end in self._lines(start):
            points = [(name, value, line["step"], line["time"]) for name, value in line.get("metrics", {}).items()]
            params = {**batch.params, **line.get("params", {})}
            if batch.end > start and (len(batch.points) + len(points) > BATCH_VALUES or len(params) > LINE_VALUES):
                break
            batch = Unsent(batch.points + points, params, end)
        return batch if batch.end > start else None

    def mark_sent(self, run_id: str, end: int | None = None, status: str | None = None) -> None:
        """Note that an MLflow run has everything up to a place (None: as before), and whether it has ended, and how."""
        end = self._sent(run_id) if end is None else end
        write_text(self._sent_path, json.dumps({"run_id": run_id, "bytes": end, "status": status}))

    def ended(self, status: str) -> bool:
        """Return whether MLflow has everything, and knows that the run ended like this."""
        sent = self._read_sent()
        return sent.get("status") == status and not any(self._lines(sent["bytes"]))

    def _sent(self, run_id: str) -> int:
        sent = self._read_sent()
        return sent["bytes"] if sent.get("run_id") == run_id else 0

    def _read_sent(self) -> dict[str, Any]:
        if not self._sent_path.is_file():
            return {}
        with damaged(self._sent_path):
            sent = json.loads(self._sent_path.read_text())
            if not isinstance(sent["run_id"], str) or type(sent["bytes"]) is not int or sent["bytes"] < 0:
                raise ValueError(f"it says {str(sent)[:100]}")
            size = self.path.stat().st_size if self.path.is_file() else 0  # less than was sent after a power cut
            return {**sent, "bytes": min(sent["bytes"], size)}

    def _append(self, line: dict[str, Any]) -> None:
        """Append a line; after an error none of it is in the file."""
        text = json.dumps(line).encode() + b"\n"
        with open(self.path, "ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise

    def _read_last(self) -> dict[str, tuple[int, float]]:
        """Return step and value of the last point of each name, read from the file the first time.

        The rest of a line that a kill cut is removed.
        """
        if self._last is None:
            self._last, whole = {}, 0
            for line, end in self._lines(0):
                whole = end
                self._last.update({name: (line["step"], value) for name, value in line.get("metrics", {}).items()})
                self._params |= line.get("params", {}).keys()
            if self.path.is_file() and self.path.stat().st_size > whole:
                os.truncate(self.path, whole)
        return self._last

    def _lines(self, start: int) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield whole lines and the place after each."""
        if not self.path.is_file():
            return
        with open(self.path, "rb") as file:
            file.seek(start)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                start += len(text)
                yield self._line(text), start

    def _line(self, text: bytes) -> dict[str, Any]:
        """Read a line; only the last one may be cut."""
        with damaged(self.path):
            line = json.loads(text)
            points, params = line.get("metrics", {}), line.get("params", {})
            numbers = (*points.values(), *((line["step"], line["time"]) if points else ()))
            if not all(isinstance(number, int | float) for number in numbers) or not all(
                isinstance(param, str) for param in params.values()
            ):
                raise ValueError(f"a line is {text[:50]!r}")
            return dict(line)


def chunks(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Split a mapping into parts that a line, or a request to MLflow, can hold."""
    items = iter(values.items())
    while chunk := dict(islice(items, LINE_VALUES)):
        yield chunk
