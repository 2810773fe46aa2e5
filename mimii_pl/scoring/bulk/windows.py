"""Timelines of very many recordings: windows of several are scored in one batch, and a killed command loses none."""

import math
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.core.foreign import name_fault
from mimii_pl.core.prefetch import read_ahead
from mimii_pl.dataset._audio import UnreadableClip
from mimii_pl.scoring.bulk.predictor import Prediction, Predictor
from mimii_pl.scoring.bulk.recordings import Recording
from mimii_pl.scoring.timeline import TimelineBuilder, Windows, read_windows, score_windows, windows_at_a_time

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer

RECORDING_COLUMNS = ("file", "machine_id", "seconds", "windows", "mean", "maximum", "percentile_95", "above", "events")


class Opened(NamedTuple):
    """A recording that is read: of which shard, which of it, its machine ID number, and its windows so far."""

    shard: int
    place: int
    file: str
    number: int
    builder: TimelineBuilder


class Ended(NamedTuple):
    """A recording that has been read, and why it is skipped, if it is."""

    opened: Opened
    skipped: str


Window = tuple[Opened, int, np.ndarray]  # recording, number of the window, int16 [samples]


class WindowPredictor(Predictor):
    """Predictor of a row per recording: statistics of its windows, and its timeline as one word.

    Args:
        windows: how recordings are divided.
        store: folder in which scores of windows are kept until their recording is finished; None: nowhere.
        **options: machine_id and folder, see `Predictor`.
    """

    def __init__(self, scorer: "BaseScorer", windows: Windows, store: Path | None = None, **options: Any) -> None:
        super().__init__(scorer, **options)
        scorer.require_thresholds()
        self.windows, self.store = windows, store
        self._kept = Path(), 0  # of which recording scores were kept last, and how many
        self.columns = (*RECORDING_COLUMNS, "unusable", "timeline", "skipped")
        self.no_values = (*(math.nan,) * (len(RECORDING_COLUMNS) - 2), math.nan, "")

    def stream(
        self, shards: Iterable[tuple[int, Iterable[Recording]]], threads: int | None = None
    ) -> Iterator[tuple[int, list[Prediction]]]:
        """Yield (number of a shard, rows) of recordings as they are finished, in order; one thread reads them."""
        size = windows_at_a_time(self.scorer)
        found = read_ahead(self._read(shards), depth=2 * size)
        while items := list(islice(found, size)):
            self._score([item for item in items if not isinstance(item, Ended)])
            for item in items:
                if isinstance(item, Ended):
                    yield item.opened.shard, [self._row(item)]

    def _read(self, shards: Iterable[tuple[int, Iterable[Recording]]]) -> Iterator[Window | Ended]:
        for shard, recordings in shards:
            for place, recording in enumerate(recordings):
                yield from self._windows(shard, place, recording)

    def _windows(self, shard: int, place: int, recording: Recording) -> Iterator[Window | Ended]:
        """Yield the windows of a recording that are to be scored, and its end."""
        path, number, name, skipped = Path(self.folder, recording.path), -1, "", ""
        try:
            name = self.named(recording, path) or ""
            number = int(self.scorer.id_numbers(name or None, 1)[0])
            name = self.scorer.labels[number] if number >= 0 else ""
        except InputError as reason:
            skipped, name = str(reason), "" if name_fault(name) else name
        builder = TimelineBuilder(self.scorer, self.windows, name)
        opened = Opened(shard, place, recording.path, number, builder)
        try:
            known = [] if skipped else self._known(shard, place, path)
            for count, wave in () if skipped else read_windows(self.scorer, path, builder):
                if count < len(known):
                    builder.set(count, known[count])
                else:
                    yield opened, count, wave
        except UnreadableClip as reason:
            skipped = str(reason)
        except (OSError, RuntimeError, MemoryError) as error:  # one bad recording must not stop the others
            skipped = f"cannot be used: {type(error).__name__}: {error}"
        yield Ended(opened, skipped)

    def _score(self, batch: list[Window]) -> None:
        if not batch:
            return
        ids = np.array([opened.number for opened, *_ in batch])
        score_windows(self.scorer, [(opened.builder, count, wave) for opened, count, wave in batch], ids)
        if self.store is not None:
            for _, group in groupby(batch, key=lambda window: window[0].builder):
                self._keep(*[(opened, count) for opened, count, _ in group][-1])

    def _row(self, item: Ended) -> Prediction:
        """Make the row of a recording, in the order of `columns`."""
        opened, skipped = item
        keys = opened.file, opened.builder.label
        if not skipped:
            try:
                timeline = opened.builder.finish()
            except InputError as reason:
                skipped = f"no window can be used: {reason}"
            else:
                unusable, count = len(timeline.faults), len(timeline.score)
                values = timeline.mean, timeline.maximum, timeline.percentile_95, timeline.above, len(timeline.events)
                return (*keys, timeline.seconds, count, *values, unusable, timeline.to_text(), "")
        return (*keys, *self.no_values, skipped)

    # --- scores of windows, until their recording is finished --------------------------------------------------------
    def _path(self, shard: int, place: int) -> Path:
        assert self.store is not None
        return self.store / f"{shard:08d}-{place}.scores"

    def _known(self, shard: int, place: int, path: Path) -> list[float]:
        """Read the scores that a killed command has kept of a recording, if that has not changed since."""
        if self.store is None or not (kept := self._path(shard, place)).is_file():
            return []
        whole, newline, _ = kept.read_text().rpartition("\n")  # the last line may have been cut
        first, *lines = whole.split("\n")
        try:
            scores = [float(line) for line in lines] if first == _state(path) else []
        except ValueError:  # damaged by a power cut
            scores = []
        write_text(kept, whole + newline if scores else "")
        return scores

    def _keep(self, opened: Opened, last: int) -> None:
        """Append the scores of a recording up to the window `last`, beyond those that were kept before."""
        path = self._path(opened.shard, opened.place)
        if path != self._kept[0]:
            self._kept = path, len(self._known(opened.shard, opened.place, Path(self.folder, opened.file)))
        done = self._kept[1]
        with path.open("a") as file:
            if not done:
                file.write(f"{_state(Path(self.folder, opened.file))}\n")
            file.writelines(f"{score!r}\n" for score in opened.builder.scores[done : last + 1])
        self._kept = path, last + 1


def _state(path: Path) -> str:
    """Return what changes with the content of a file."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
