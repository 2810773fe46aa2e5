"""The terminal output of `mimii score`: a progress bar, then the recordings that matter."""

import heapq
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mimii_pl.core.foreign import printable
from mimii_pl.threshold._threshold import Thresholds

if TYPE_CHECKING:
    from mimii_pl.core.console import Console

log = logging.getLogger(__name__)
ROWS_SHOWN = 20  # rows per table
IDS_SHOWN = 5  # machine IDs whose false alarms are told


class Rate(ProgressColumn):
    """Recordings per second."""

    def render(self, task: Task) -> str:
        return f"{task.speed:.0f}/s" if task.speed else ""


@contextmanager
def progress(total: int, finished: int) -> Iterator[Callable]:
    """Show a bar with rate and time left; yield the function `advance(recordings, skipped=)`."""
    skips = TextColumn("{task.fields[skipped]} skipped")
    columns = [TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(), skips]
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=total, completed=finished, skipped=0)

        def advance(recordings: int, *, skipped: int) -> None:
            bar.update(task, advance=recordings, skipped=bar.tasks[task].fields["skipped"] + skipped)

        yield advance


class Summary:
    """The highest scores (of a classifier the first recordings) and the first skipped files of a CSV of any length.

    Args:
        classified: whether the rows are those of a classifier.
        seconds: length of a clip in s.
        thresholds: of the run, to tell their origin and the false alarms to expect; None: of a classifier, or unknown.
    """

    def __init__(self, *, classified: bool, seconds: float, thresholds: Thresholds | None = None) -> None:
        self.classified, self.seconds, self.thresholds = classified, seconds, thresholds
        self.machine_ids: set[str] = set()  # of the scored recordings
        self.top: list[tuple] = []  # a heap of (score, -position, row)
        self.skipped: list[Sequence[str]] = []
        self.counts = {True: 0, False: 0}  # skipped, or not
        self.longer, self.recorded = 0, 0.0  # recordings that are longer than a clip, and their length in s

    def note(self, row: Sequence[str]) -> Sequence[str]:
        """Take a row of the CSV into account, and return it."""
        skipped = bool(row[-1])
        self.counts[skipped] += 1
        if skipped:
            if len(self.skipped) < ROWS_SHOWN:
                self.skipped.append(row)
            return row
        if not self.classified:
            self.machine_ids.add(row[1])
        if (share := float(row[-2])) < 1:
            self.longer += 1
            self.recorded += self.seconds / share
        item = (0.0 if self.classified else float(row[2]), -self.counts[False], row)
        heapq.heappush(self.top, item)
        if len(self.top) > ROWS_SHOWN:
            heapq.heappop(self.top)
        return row

    def show(self, target: Path) -> None:
        """Print the tables and the path of the CSV."""
        from mimii_pl.core.console import Console

        console = Console()
        table = _classes() if self.classified else _scores(self.thresholds.origin if self.thresholds else "")
        if self.longer:
            table.add_column("heard", no_wrap=True)
        for _, _, row in sorted(self.top, reverse=True):
            name = Path(printable(row[0])).name
            cells = _class_cells(row) if self.classified else _score_cells(row)
            part = f"{self.seconds:.1f} of {self.seconds / float(row[-2]):.1f} s" if float(row[-2]) < 1 else "all"
            table.add_row(name, *cells, *([part] if self.longer else []))
        console.print(table)
        if self.counts[False] > ROWS_SHOWN:
            console.print(f"... and {self.counts[False] - ROWS_SHOWN} more")
        skipped_lines(console, self.skipped, self.counts[True])
        if self.longer:
            text = "%d recordings are longer than a clip: %.1f s of %.1f s were heard, the rest is not scored"
            text += "" if self.classified else ": windows=true scores them in full"
            log.warning(text, self.longer, self.longer * self.seconds, self.recorded)
        for line in false_alarm_lines(self.thresholds, self.machine_ids, self.seconds, "clip"):
            console.print(line, soft_wrap=True, highlight=False)
        kind = "classes" if self.classified else "scores"
        console.print(f"{kind}: {target.resolve()}", soft_wrap=True)


def false_alarm_lines(
    thresholds: Thresholds | None, machine_ids: Collection[str], every: float, what: str
) -> list[str]:
    """Tell the false alarms to expect of each machine ID that was scored.

    Args:
        every: s from one score to the next.
        what: is scored, `clip` or `window`.
    """
    if not thresholds or not machine_ids:
        return []
    shown = sorted(machine_ids)[:IDS_SHOWN]
    lines = [f"false alarms per day, at most, of healthy machines (95 %), with a {what} every {every:.4g} s:"]
    for name in shown:
        alarms = thresholds.false_alarms(name)
        told = f"above {alarms.above} of {alarms.held_out} held-out normal clips"
        lines.append(f"  {printable(name) or 'all'}: {alarms.per_day(every)}; the threshold is {told}")
    if more := len(machine_ids) - len(shown):
        lines.append(f"  ... and {more} more machine IDs: report.html of the run has them")
    return lines


def skipped_lines(console: "Console", rows: Sequence[Sequence[str]], count: int) -> None:
    """Print the first skipped recordings with their reasons, and how many there are."""
    for row in rows:
        console.print(f"skipped {printable(row[0])}: {printable(row[-1])}", soft_wrap=True)
    if count > len(rows):
        console.print(f"... and {count - len(rows)} more: {count} are skipped in all")


def _scores(origin: str) -> Table:
    caption = (
        "higher: more anomalous; higher than: share of held-out normal clips of that machine; p: p-value among them"
    )
    if origin:
        caption += f"; threshold: {origin}"
    heads = ("file", "machine ID", "score", "higher than", "p", "")
    return Table(*heads, title="Anomaly scores, highest first", caption=caption)


def _score_cells(row: Sequence[str]) -> tuple[str | Text, ...]:
    _, machine_id, score, higher_than, p_value, decision, *_ = row
    share = f"{100 * float(higher_than):.1f} %" if higher_than else ""
    word = Text("anomalous", "bold red") if decision == "1" else Text("normal" if decision == "0" else "")
    return machine_id, f"{float(score):.4g}", share, f"{float(p_value):.3g}" if p_value else "", word


def _classes() -> Table:
    return Table("file", "taken for", "probability", title="Classes")


def _class_cells(row: Sequence[str]) -> tuple[str, ...]:
    _, taken_for, *shares, _, _ = row
    return taken_for, f"{max(map(float, shares)):.3f}"
