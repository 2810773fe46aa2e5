"""Files beside the table of `mimii score windows=true`: windows, events, labels for editors, and a page."""

import csv
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import replacing, write_text
from mimii_pl.core.foreign import file_cell, printable, write_rows
from mimii_pl.scoring.bulk.progress import ROWS_SHOWN, false_alarm_lines, skipped_lines
from mimii_pl.scoring.bulk.recordings import TEXT_OPTIONS
from mimii_pl.scoring.bulk.windows import RECORDING_COLUMNS
from mimii_pl.scoring.timeline import Timeline

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer

WINDOW_COLUMNS = ("file", "start", "end", "score", "higher_than", "decision", "unusable")
EVENT_COLUMNS = ("file", "start", "end", "peak", "score", "windows", "low_hz", "high_hz", "rise_db")
PUBLIC_COLUMNS = (*RECORDING_COLUMNS, "unusable", "skipped")
LABEL_ENDINGS = {"audacity": ".txt", "raven": ".Table.1.selections.txt"}
LABEL_INDEX = "labels.csv"  # which labels are those of which recording
LABEL_COLUMNS = ("labels", "file")
SHOWN = 20  # recordings on the page
EVENTS_NAMED = 5  # of a recording, on the terminal
LONGEST_NAME = 180  # bytes of a recording's name in that of its labels
Page = Callable[[Path, "BaseScorer", Sequence[tuple[str, Timeline]], int], None]


def beside(target: Path, kind: str, suffix: str) -> Path:
    """Return the path of a further file of a table.

    >>> str(beside(Path("out/scores.csv"), "windows", ".csv")), str(beside(Path("night.csv"), "events", ".csv"))
    ('out/windows.csv', 'night-events.csv')
    """
    name = target.stem.removeprefix("scores")
    return target.with_name((kind + name if name != target.stem else f"{name}-{kind}") + suffix)


class WindowFiles:
    """Takes the rows of recordings as they are joined into the table, and writes what belongs to them.

    Args:
        target: the table.
        labels: `audacity` or `raven`: a file of labels per recording with events; None: none.
        hop: s from a window to the next.

    Attributes:
        page: recordings of the page, (file, timeline), those that exceed their threshold most first.
    """

    def __init__(self, target: Path, labels: str | None, hop: float) -> None:
        self.target, self.labels, self.hop = target, labels, hop
        self.machine_ids: set[str] = set()
        self.top: list[tuple[float, int, str, Timeline]] = []  # a heap
        self.count, self.skipped_count = 0, 0
        self.skipped: list[Sequence[str]] = []
        self._names: set[str] = set()

    @contextmanager
    def opened(self) -> Iterator["WindowFiles"]:
        """Open the tables, which replace older ones when they are closed; after an error, older ones stay."""
        with ExitStack() as self._open:
            if self.labels:
                self._label_folder = beside(self.target, "labels", "")
                self._label_folder.mkdir(parents=True, exist_ok=True)
                index = self._label_folder / LABEL_INDEX
                _remove_listed(index)
                self._index = self._open.enter_context(self._table(index, LABEL_COLUMNS))
            self._windows, self._events = (
                self._open.enter_context(self._table(beside(self.target, kind, ".csv"), columns))
                for kind, columns in (("windows", WINDOW_COLUMNS), ("events", EVENT_COLUMNS))
            )
            yield self

    @contextmanager
    def _table(self, path: Path, columns: Sequence[str]) -> Iterator[TextIO]:
        with replacing(path) as partial, partial.open("w", newline="", **TEXT_OPTIONS) as file:
            write_rows(file, [columns])
            yield file

    def close(self) -> None:
        """Put the tables in their places."""
        self._open.close()

    def note(self, row: Sequence[str]) -> Sequence[str]:
        """Write windows, events and labels of a row; return the row without its timeline."""
        *values, word, skipped = row
        if skipped:
            self.skipped_count += 1
            if len(self.skipped) < ROWS_SHOWN:
                self.skipped.append(row)
        else:
            timeline = Timeline.from_text(word)
            self._write(row[0], timeline)
            self.machine_ids.add(timeline.machine_id)
            self.count += 1
            heapq.heappush(self.top, (timeline.maximum - timeline.threshold, -self.count, row[0], timeline))
            if len(self.top) > SHOWN:
                heapq.heappop(self.top)
        return [*values, skipped]

    def _write(self, file: str, timeline: Timeline) -> None:
        write_rows(self._windows, window_rows(file, timeline))
        write_rows(self._events, event_rows(file, timeline))
        if self.labels and timeline.events:
            name = self._label_name(file)
            write_text(self._label_folder / name, label_text(timeline, self.labels))
            write_rows(self._index, [(name, file_cell(file))])

    def _label_name(self, file: str) -> str:
        """Return a name that no other recording's labels have: with its folder, or a number, where that is needed."""
        assert self.labels is not None
        path = Path(printable(file))
        stems = [_short(name) for name in (path.name, f"{path.parent.name}_{path.name}")]
        numbered = (f"{stems[1]}-{number}" for number in count(2))
        name = next(name for name in chain(stems, numbered) if name not in self._names)
        self._names.add(name)
        return f"{name}{LABEL_ENDINGS[self.labels]}"

    @property
    def shown(self) -> list[tuple[str, Timeline]]:
        """Recordings of the page, those that exceed their threshold most first."""
        return [(file, timeline) for _, _, file, timeline in sorted(self.top, reverse=True, key=lambda one: one[:2])]

    def show(self, scorer: "BaseScorer") -> None:
        """Print a table of the recordings with the highest scores, and the paths of the files."""
        from rich.table import Table
        from rich.text import Text

        from mimii_pl.core.console import Console

        console = Console()
        origin = scorer.thresholds.origin if scorer.thresholds else ""
        caption = f"windows of {scorer.seconds:g} s; above: share of windows above the threshold ({origin})"
        heads = ("recording", "machine ID", "length", "mean", "maximum", "above", "events")
        table = Table(*heads, title="Recordings, highest scores first", caption=caption)
        for file, timeline in self.shown:
            events = Text(str(len(timeline.events)), "bold red" if timeline.events else "")
            above = f"{100 * timeline.above:.1f} %"
            name = Path(printable(file)).name
            length = clock(timeline.seconds)
            table.add_row(
                name, timeline.machine_id, length, f"{timeline.mean:.4g}", f"{timeline.maximum:.4g}", above, events
            )
        console.print(table)
        if self.count > SHOWN:
            console.print(f"... and {self.count - SHOWN} more")
        for file, timeline in self.shown:
            if timeline.events:
                text = f"{Path(printable(file)).name}: {event_words(timeline)}"
                console.print(text, soft_wrap=True, markup=False)
            if timeline.faults:
                number, reason = next(iter(timeline.faults.items()))
                text = (
                    f"{printable(file)}: {len(timeline.faults)} of {len(timeline.score)} windows are not scored; the "
                )
                text += f"one at {timeline.start[number]:g} s: {reason}"
                console.print(text, soft_wrap=True, markup=False)
        skipped_lines(console, self.skipped, self.skipped_count)
        for line in false_alarm_lines(scorer.thresholds, self.machine_ids, self.hop, "window"):
            console.print(line, soft_wrap=True, highlight=False)
        for kind in ("windows", "events"):
            console.print(f"{kind}: {beside(self.target, kind, '.csv').resolve()}", soft_wrap=True)
        console.print(f"timeline: {beside(self.target, 'timeline', '.html').resolve()}", soft_wrap=True)
        console.print(f"scores: {self.target.resolve()}", soft_wrap=True)


def _remove_listed(index: Path) -> None:
    """Remove the labels of an earlier scoring, which its index lists; other files in the folder stay."""
    if index.is_file():
        with index.open(newline="", **TEXT_OPTIONS) as file:
            names = [row[0] for row in csv.reader(file) if row]
        for name in names:
            if Path(name).name == name and name.endswith(tuple(LABEL_ENDINGS.values())):
                (index.parent / name).unlink(missing_ok=True)


def _short(name: str) -> str:
    """Shorten a name to `LONGEST_NAME` bytes."""
    return os.fsencode(name)[:LONGEST_NAME].decode(errors="ignore")


def window_rows(file: str, timeline: Timeline) -> Iterator[Sequence[str]]:
    """Yield the cells of windows, in the order of `WINDOW_COLUMNS`; those that cannot be used have no score."""
    columns = timeline.start, timeline.end, timeline.score, timeline.higher_than, timeline.anomalous
    for number, (start, end, score, share, above) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        values = ("", "", "") if score != score else (repr(score), f"{share:.4g}", str(int(above)))
        yield file_cell(file), f"{start:.10g}", f"{end:.10g}", *values, timeline.faults.get(number, "")


def event_rows(file: str, timeline: Timeline) -> Iterator[Sequence[str]]:
    """Yield the cells of events, in the order of `EVENT_COLUMNS`."""
    for event in timeline.events:
        times = (f"{value:.10g}" for value in event[:3])
        band = ("" if value != value else f"{value:.4g}" for value in event[5:])
        yield file_cell(file), *times, repr(event.score), str(event.windows), *band


def label_text(timeline: Timeline, kind: str) -> str:
    """Write events as a label track of Audacity, or a selection table of Raven."""
    if kind == "audacity":
        return "".join(f"{one.start:.6f}\t{one.end:.6f}\tscore {one.score:.4g}\n" for one in timeline.events)
    heads = "Selection View Channel Begin_Time_(s) End_Time_(s) Low_Freq_(Hz) High_Freq_(Hz) Score"
    lines = [heads.replace(" ", "\t").replace("_", " ")]
    for number, one in enumerate(timeline.events, 1):
        band = (0.0, timeline.levels.hertz[-1]) if one.low_hz != one.low_hz else (one.low_hz, one.high_hz)
        cells = (one.start, one.end, *band)
        lines.append(
            "\t".join([str(number), "Spectrogram 1", "1", *(f"{cell:.6f}" for cell in cells), f"{one.score:.6g}"])
        )
    return "\n".join(lines) + "\n"


def event_words(timeline: Timeline) -> str:
    """Name the events with the highest scores, in the order of time."""
    highest = sorted(sorted(timeline.events, key=lambda one: -one.score)[:EVENTS_NAMED], key=lambda one: one.start)
    times = ", ".join(f"{clock(one.start)} to {clock(one.end)} ({one.score:.4g})" for one in highest)
    more = len(timeline.events) - len(highest)
    return f"events at {times}" + (f"; {more} lower ones in events.csv" if more else "")


def clock(seconds: float) -> str:
    """Spell a time in a recording.

    >>> clock(4.25), clock(75), clock(7325)
    ('0:04.2', '1:15.0', '2:02:05.0')
    """
    tenths = int(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 10:02d}.{rest % 10}"


def validate_labels(labels: str | None) -> None:
    """Raise InputError for another editor."""
    if labels is not None and labels not in LABEL_ENDINGS:
        raise InputError(f"labels={labels}: should be one of: {', '.join(LABEL_ENDINGS)}")
