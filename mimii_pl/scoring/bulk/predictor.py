"""Predictions for recordings: scores and decisions, or classes. Threads decode them ahead of the detector."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import name_fault
from mimii_pl.core.prefetch import prefetch
from mimii_pl.scoring.bulk.recordings import Recording
from mimii_pl.scoring.timeline import NOT_A_NUMBER

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer

Prediction = tuple[str | float | int, ...]  # a row, in the order of `Predictor.columns`
NO_VALUES: dict[str, str | int] = {"taken_for": "", "decision": -1}  # for a skipped recording; NaN in other columns


class Decoded(NamedTuple):
    """A decoded recording, or the reason why it was skipped."""

    file: str
    machine_id: str
    number: int  # of the machine ID, its position in Scorer.labels
    wave: np.ndarray | None  # int16 [samples], or [C, samples] of C channels; None: skipped
    heard: float  # share of the recording
    skipped: str  # why


class Predictor:
    """Predictor of scores or classes for decoded recordings, built on a scorer.

    Args:
        machine_id: ID of all recordings; None: that of each recording, or else the one that its path tells.
        folder: base of relative paths; empty: the current folder of the process.
        members: add a column for each member of the back end (see `Scorer.members`).

    Attributes:
        columns: names of the values of a row, in the order of the CSV.
    """

    def __init__(
        self, scorer: "BaseScorer", machine_id: str | None = None, folder: str = "", *, members: bool = False
    ) -> None:
        self.scorer, self.machine_id, self.folder = scorer, machine_id, folder
        self.keys: tuple[str, ...] = ("file", "machine_id")
        values: tuple[str, ...] = ("score", "higher_than", "p_value", "decision")
        if scorer.classes is not None:
            self.keys, values = ("file",), ("taken_for", *(f"p({name})" for name in scorer.classes))
        self.members = scorer.member_names if members else []
        if members and not self.members:
            raise InputError(
                "members=true: the score of this run is not the mean of several members, which takes "
                "backend=committee or backend.per_id=both"
            )
        values += tuple(f"member({name})" for name in self.members)
        self.columns = (*self.keys, *values, "heard", "skipped")
        self.no_values = tuple(NO_VALUES.get(name, math.nan) for name in values)

    def stream(
        self, shards: Iterable[tuple[int, Iterable[Recording]]], threads: int | None = None
    ) -> Iterator[tuple[int, list[Prediction]]]:
        """Yield (number of a shard, some of its rows), batch after batch, in order.

        Args:
            threads: decoding threads; None: one per core.
        """
        size, threads = self.scorer.batch_size, threads or os.cpu_count() or 1
        numbered = ((number, recording) for number, shard in shards for recording in shard)

        def decode(item: tuple[int, Recording]) -> tuple[int, Decoded]:
            return item[0], self.decode(item[1])

        decoded = prefetch(decode, numbered, depth=2 * max(size, threads), threads=threads)
        for number, group in groupby(decoded, key=lambda item: item[0]):
            while batch := [item for _, item in islice(group, size)]:
                yield number, self.predict(batch)

    def decode(self, recording: Recording) -> Decoded:
        """Decode a recording and find its machine ID, or the reason why it cannot be used."""
        scorer, path = self.scorer, Path(self.folder, recording.path)
        name: str | None = ""
        number, heard, skipped = -1, math.nan, ""
        wave: np.ndarray | None
        try:
            wave, heard = scorer.read(path)
            if scorer.classes is None:
                name = self.named(recording, path)
                number = scorer.id_numbers(name, 1)[0]
                name = scorer.labels[number] if number >= 0 else ""
        except InputError as reason:
            wave, skipped = None, str(reason).removeprefix(f"{path}: ")
        except (OSError, RuntimeError, MemoryError) as error:  # one bad recording must not stop the others
            wave, skipped = None, f"cannot be used: {type(error).__name__}: {error}"
        if name and name_fault(name):  # unknown, and named in the reason
            name = ""
        return Decoded(recording.path, name or "", number, wave, heard, skipped)

    def named(self, recording: Recording, path: Path) -> str | None:
        """Return the machine ID that is told of a recording: by the option, the list, or its path."""
        told = self.scorer.machine_ids
        return self.machine_id or told.listed(recording.machine_id) or told.of(path)

    def predict(self, decoded: Sequence[Decoded]) -> list[Prediction]:
        """Return the rows of decoded recordings, in their order."""
        used = [(np.atleast_2d(item.wave), item.number) for item in decoded if item.wave is not None]
        channels = [len(wave) for wave, _ in used]
        ids, owners = np.repeat([number for _, number in used], channels), np.repeat(np.arange(len(used)), channels)
        predictions = iter(self._predict(np.concatenate([wave for wave, _ in used]), ids, owners) if used else ())
        rows: list[Prediction] = []
        for item in decoded:
            values, reason = self.no_values, item.skipped
            if item.wave is not None:
                values = next(predictions)
                reason = NOT_A_NUMBER if values is self.no_values else ""
            heard = math.nan if reason else item.heard
            rows.append((*(item.file, item.machine_id)[: len(self.keys)], *values, heard, reason))
        return rows

    def _predict(self, waves: np.ndarray, ids: np.ndarray, owners: np.ndarray) -> list[Prediction]:
        """Predict the values of N recordings; `no_values` for NaN scores.

        Args:
            waves: of their channels, int16 [W, samples].
            ids: machine ID numbers [W].
            owners: number of the recording of each channel [W].
        """
        scorer = self.scorer
        if self.members:
            of_members = scorer.member_waves(waves, ids)  # [W, M]
            predicted = np.average(of_members, axis=1, weights=scorer.member_weights)
        else:
            of_members, predicted = np.empty((len(waves), 0)), scorer.predict_waves(waves, ids)  # [W] or [W, K]
        predicted, first = scorer.over_channels(predicted, owners)
        ids = ids[first]
        rows: list[Prediction]
        if scorer.classes is not None:
            rows = [(scorer.classes[shares.argmax()], *shares.tolist()) for shares in predicted]
        elif scorer.thresholds is None:
            rows = [(score, *self.no_values[1:4]) for score in predicted.tolist()]
        else:
            thresholds = scorer.thresholds
            ranks = thresholds.rank(predicted, ids), thresholds.p_value(predicted, ids)
            columns = predicted, *ranks, thresholds.decide(predicted, ids)
            rows = list(zip(*(column.tolist() for column in columns), strict=True))
        if self.members:
            shares_of = scorer.over_channels(of_members, owners)[0]
            rows = [(*row, *shares) for row, shares in zip(rows, shares_of.tolist(), strict=True)]
        undefined = np.isnan(predicted.reshape(len(rows), -1)).any(axis=1)
        return [self.no_values if missing else row for row, missing in zip(rows, undefined, strict=True)]

    def cells(self, row: Prediction) -> list[str]:
        """Format a row for the CSV."""
        return [_cell(name, value) for name, value in zip(self.columns, row, strict=True)]


def _cell(name: str, value: str | float | int) -> str:
    if value != value or value == NO_VALUES.get(name):  # NaN, or skipped
        return ""
    formats = {"higher_than": ".4g", "p_value": ".4g", "heard": ".6g", "above": ".6g", "seconds": ".10g"}
    digits = formats.get(name, "")
    return format(value, digits)
