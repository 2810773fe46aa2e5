"""The changes of an update: alarms on recordings of before and on new ones, and the sensitivity to faults."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mimii_pl.core.console import Console
from mimii_pl.core.files import write_csv
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.core.grouping import group_by
from mimii_pl.dataset._channels import ALL_CHANNELS, fuse_channels
from mimii_pl.live.upkeep.after import ScoresAfter
from mimii_pl.live.upkeep.known import owners_of
from mimii_pl.live.upkeep.new_clips import NewClips
from mimii_pl.report.grid import Grid
from mimii_pl.report.screen import print_grid
from mimii_pl.report.tables import number
from mimii_pl.scoring.decisions import choose_thresholds
from mimii_pl.scoring.held_out_table import HeldOutScore
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.scores import ClipScore
from mimii_pl.scoring.sensitivity import Noticed, sensitivity_of
from mimii_pl.threshold import Threshold, Thresholds

Group = Literal["held out", "new", "marked fault", "test, normal", "test, anomalous", "test, unknown"]
GROUP_WORDS: dict[Group, str] = {
    "test, normal": "alarms on normal test clips",
    "test, anomalous": "anomalous test clips found",
    "test, unknown": "alarms on test clips without a label",
    "held out": "alarms on held-out normal clips of before",
    "new": "alarms on new normal clips",
    "marked fault": "recordings marked as faults found",
}
SENSITIVITY_WORDS = "sensitivity to synthetic faults"
EVERY_MACHINE = "all"
NAMED_FILES = 5  # in a line


TEST_GROUPS: dict[int, Group] = {0: "test, normal", 1: "test, anomalous", -1: "test, unknown"}


class Judged(NamedTuple):
    """A recording, judged before and after an update; the new normal ones by folds that they are held out by."""

    file: str
    label: str
    group: Group
    before: float
    after: float
    decision_before: int = -1
    decision_after: int = -1


class UpdateRow(NamedTuple):
    """A row of the table: of a machine ID, or of all."""

    label: str
    what: str
    clips: int
    before: float
    after: float


def thresholds_of(scorer: Scorer, after: ScoresAfter, clips: NewClips, rule: Threshold) -> Thresholds:
    """Choose thresholds from the held-out normal clips; an oracle by marked faults, or else by test labels."""
    normal = [row for row in after.held_out if not row.fault]
    owners = owners_of([row.file for row in normal], fused=scorer.channel == ALL_CHANNELS)
    scores, first = fuse_channels(np.array([row.score for row in normal]), owners, scorer.fusion)
    ids = np.array([scorer.labels.index(f"{normal[row].machine}/{normal[row].id}") for row in first])
    thresholds = Thresholds.hold(scores, ids, scorer.labels)
    if rule.oracle and len(after.faults):
        faults = clips.of(clips.anomalous)
        groups = faults.rows_of_sources
        strongest = np.array([after.faults[rows].max() for rows in groups])
        every_id = np.concatenate([ids, faults.ids[[rows[0] for rows in groups]]])
        labels = np.repeat([0, 1], [len(ids), len(groups)])
        return thresholds.choose(rule, (np.concatenate([scores, strongest]), every_id, labels))
    choose_thresholds(thresholds, rule, after.tests)
    return thresholds


def judged_clips(
    scorer: Scorer,
    clips: NewClips,
    scores: np.ndarray,
    old: Sequence[HeldOutScore],
    tests: Sequence[ClipScore],
    after: ScoresAfter,
) -> list[Judged]:
    """Pair the scores of every recording before and after the update."""
    new = {(row.machine, row.id, row.file): row.score for row in after.held_out if not row.fault}
    judged = []
    for clip in old:
        own = clip.machine, clip.id, clip.file
        if not clip.fault and own in new:
            judged.append(Judged(clip.file, f"{clip.machine}/{clip.id}", "held out", clip.score, new[own]))
    for row, name in enumerate(clips.names):
        label = scorer.labels[clips.ids[row]]
        machine, id_ = label.split("/", 1)
        if not clips.anomalous[row]:
            after_it = new[machine, id_, file_cell(name)]
            judged.append(Judged(file_cell(name), label, "new", float(scores[row]), after_it))
    faults = clips.of(clips.anomalous)
    for rows in faults.rows_of_sources:
        pair = float(scores[clips.anomalous][rows].max()), float(after.faults[rows].max())
        judged.append(
            Judged(file_cell(faults.names[rows[0]]), scorer.labels[faults.ids[rows[0]]], "marked fault", *pair)
        )
    was = {(clip.machine, clip.id, clip.file): clip.score for clip in tests}
    for test in after.tests:
        pair = was[test.machine, test.id, test.file], test.score
        judged.append(Judged(test.file, f"{test.machine}/{test.id}", TEST_GROUPS[test.label], *pair))
    return judged


def decided(clips: Iterable[Judged], before: Thresholds, after: Thresholds) -> list[Judged]:
    """Decide on recordings by the thresholds of before and after."""
    clips = list(clips)
    ids = np.array([before.number(clip.label) for clip in clips], int)
    old = before.decide(np.array([clip.before for clip in clips]), ids).tolist()
    new = after.decide(np.array([clip.after for clip in clips]), ids).tolist()
    rows = zip(clips, old, new, strict=True)
    return [clip._replace(decision_before=was, decision_after=now) for clip, was, now in rows]


def changes(clips: Sequence[Judged], before: Sequence[Noticed], after: Sequence[Noticed]) -> list[UpdateRow]:
    """Count alarms by group, and compare sensitivities: of all machine IDs together, then of each if there are several.

    Args:
        clips: decided.
        before, after: synthetic faults, and how well they are noticed.
    """
    labels = sorted({clip.label for clip in clips} | {entry.machine_id for entry in after})
    rows = []
    for label in (EVERY_MACHINE, *(labels if len(labels) > 1 else ())):
        own = [clip for clip in clips if label in (EVERY_MACHINE, clip.label)]
        for group, of_group in group_by(own, lambda clip: clip.group).items():
            was, now = (float(sum(own)) for own in zip(*(clip[-2:] for clip in of_group), strict=True))
            rows.append(UpdateRow(label, GROUP_WORDS[group], len(of_group), was, now))
        noticed = [[entry for entry in side if label in (EVERY_MACHINE, entry.machine_id)] for side in (before, after)]
        if noticed[1]:
            count = sum(entry.clips for entry in noticed[1])
            rows.append(UpdateRow(label, SENSITIVITY_WORDS, count, *map(sensitivity_of, noticed)))
    order = [*GROUP_WORDS.values(), SENSITIVITY_WORDS]
    return sorted(rows, key=lambda row: (row.label != EVERY_MACHINE, row.label, order.index(row.what)))


def write_changes(run_dir: Path, clips: Sequence[Judged], rows: Sequence[UpdateRow]) -> None:
    """Write `update.csv`, the table, and `changes.csv`, every recording that was judged."""
    write_csv(run_dir / "update.csv", ("machine_id", *UpdateRow._fields[1:]), rows)
    columns = ("file", "machine_id", "group", "score_before", "score_after", *Judged._fields[5:])
    write_csv(
        run_dir / "changes.csv",
        columns,
        ((*clip[:3], repr(clip.before), repr(clip.after), *clip[5:]) for clip in clips),
    )


def show_changes(console: Console, clips: Sequence[Judged], rows: Sequence[UpdateRow], title: str, note: str) -> None:
    """Print the table of all machine IDs together, and the recordings of before whose decision changes."""
    shown = [row for row in rows if row.label == EVERY_MACHINE]
    cells = [(row.what, str(row.clips), *(_cell(row, value) for value in row[3:])) for row in shown]
    note = f"{note} Each machine ID: update.csv; each recording: changes.csv."
    print_grid(console, Grid(title, ("", "clips", "before", "after"), cells, note, ranked=False))
    for words, was in (("no alarm any more", 1), ("an alarm now", 0)):
        files = [clip.file for clip in clips if clip.decision_before == was != clip.decision_after]
        if files:
            more = f" and {len(files) - NAMED_FILES} more" if len(files) > NAMED_FILES else ""
            names = ", ".join(Path(printable(file)).name for file in files[:NAMED_FILES])
            console.print(f"{words}: {names}{more}", soft_wrap=True, highlight=False)


def _cell(row: UpdateRow, value: float) -> str:
    return number(value) if row.what == SENSITIVITY_WORDS else f"{value:.0f}"
