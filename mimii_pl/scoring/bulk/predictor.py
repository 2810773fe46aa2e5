"""What a run says of recordings: scores and decisions, or classes. Decoded by threads, ahead of the detector."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.prefetch import prefetch
from mimii_pl.scoring.bulk.recordings import Recording

if TYPE_CHECKING:
    from mimii_pl.scoring.scorer import Scorer

Prediction = tuple[str | float | int, ...]  # what `columns` names
NOTHING = {"taken_for": "", "decision": -1}  # of a recording that was skipped; NaN in the other columns
NOT_A_NUMBER = "the detector's score of it is not a number"


class Decoded(NamedTuple):
    """A recording, decoded."""

    file: str
    machine_id: str
    number: int  # of the machine ID, see Scorer.labels
    wave: np.ndarray | None  # int16 [samples]; None: skipped
    skipped: str  # why


class Predictor:
    """Assesses recordings with a scorer.

    Args:
        machine_id: ID that all are judged against; None: the recording's own, or what its name tells.
        folder: where relative paths start from; empty: where the process is.

    Attributes:
        columns: names of what it finds out, in the order of the CSV.
    """

    def __init__(self, scorer: "Scorer", machine_id: str | None = None, folder: str = "") -> None:
        self.scorer, self.machine_id, self.folder = scorer, machine_id, folder
        if scorer.classes is None:
            self.about, verdict = ("file", "machine_id"), ("score", "higher_than", "decision")
        else:
            self.about, verdict = ("file",), ("taken_for", *(f"p({name})" for name in scorer.classes))
        self.columns = (*self.about, *verdict, "skipped")
        self.nothing = tuple(NOTHING.get(name, math.nan) for name in verdict)

    def stream(
        self, shards: Iterable[tuple[int, Iterable[Recording]]], threads: int | None = None
    ) -> Iterator[tuple[int, list[Prediction]]]:
        """Number of a shard and some of its rows: batch after batch, in order.

        Args:
            threads: that decode; None: as many as there are cores.
        """
        size, threads = self.scorer.batch_size, threads or os.cpu_count()
        every = ((number, recording) for number, shard in shards for recording in shard)
        heard = prefetch(
            lambda item: (item[0], self.hear(item[1])), every, depth=2 * max(size, threads), threads=threads
        )
        for number, some in groupby(heard, key=lambda item: item[0]):
            while batch := [one for _, one in islice(some, size)]:
                yield number, self.assess(batch)

    def hear(self, recording: Recording) -> Decoded:
        """Decode a recording and find its machine ID; a reason where it cannot be used."""
        scorer, path = self.scorer, Path(self.folder, recording.path)
        name, number, skipped = "", -1, ""
        try:
            wave = scorer.read(path)
            if scorer.classes is None:
                name = self.machine_id or recording.machine_id or id_in_name(Path(recording.path), scorer.labels)
                number = scorer.id_numbers(name, 1)[0]
                name = scorer.labels[number] if number >= 0 else ""
        except InputError as reason:
            wave, skipped = None, str(reason).removeprefix(f"{path}: ")
        except (OSError, RuntimeError, MemoryError) as error:  # one recording must not cost the others
            wave, skipped = None, f"cannot be used: {type(error).__name__}: {error}"
        return Decoded(recording.path, name or "", number, wave, skipped)

    def assess(self, heard: Sequence[Decoded]) -> list[Prediction]:
        """Rows of some recordings, in their order."""
        kept = [one for one in heard if one.wave is not None]
        verdicts = iter(self._verdicts(kept) if kept else ())
        rows = []
        for one in heard:
            verdict = next(verdicts) if one.wave is not None else self.nothing
            lost = NOT_A_NUMBER if one.wave is not None and verdict is self.nothing else ""
            rows.append((*one[: len(self.about)], *verdict, one.skipped or lost))
        return rows

    def _verdicts(self, kept: Sequence[Decoded]) -> list[Prediction]:
        scorer = self.scorer
        ids = np.array([one.number for one in kept])
        values = scorer.predict_waves(np.stack([one.wave for one in kept]), ids)  # [N] or [N, K]
        if scorer.classes is not None:
            found = [(scorer.classes[shares.argmax()], *shares.tolist()) for shares in values]
        elif scorer.thresholds is None:
            found = [(score, *self.nothing[1:]) for score in values.tolist()]
        else:
            limits = scorer.thresholds
            columns = values, limits.rank(values, ids), limits.decide(values, ids)
            found = list(zip(*(column.tolist() for column in columns), strict=True))
        lost = np.isnan(values.reshape(len(kept), -1)).any(axis=1)
        return [self.nothing if none else verdict for verdict, none in zip(found, lost, strict=True)]

    def cells(self, row: Prediction) -> list[str]:
        """A row as the CSV has it."""
        return [_cell(name, value) for name, value in zip(self.columns, row, strict=True)]


def _cell(name: str, value: str | float | int) -> str:
    if value != value or value == NOTHING.get(name):
        return ""
    return f"{value:.4g}" if name == "higher_than" else str(value)


def id_in_name(path: Path, labels: Sequence[str]) -> str | None:
    """`id_00` of normal_id_00_00000000.wav, or a folder above the file that is named like a known machine ID."""
    found = re.findall(r"id_\d{2}|section_\d{2}", str(path))
    known = [label.split("/", 1)[1] for label in labels]
    return next((name for name in (*found[::-1], *path.parts[::-1]) if name in known), found[-1] if found else None)
