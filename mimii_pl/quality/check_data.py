"""Check a data set: every recording in full, or in short at the head of a training, from the audio cache."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import KeptValue
from mimii_pl.core.foreign import printable
from mimii_pl.core.prefetch import prefetch
from mimii_pl.dataset._classes import check_names
from mimii_pl.dataset._clip import Clip
from mimii_pl.quality.each import check_each
from mimii_pl.quality.findings import FINDINGS, CheckedRecording, Finding, worst_first
from mimii_pl.quality.limits import Limits
from mimii_pl.quality.measures import Measures, measure_file, of_cached
from mimii_pl.quality.neighbours import check_copies, check_unlike
from mimii_pl.quality.together import check_together

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds

log = logging.getLogger(__name__)
MEASURE_AHEAD = 8  # recordings being measured at a time: bounds the memory
HEAD_CLIPS = 100  # clips that are looked at before a training
FINDINGS_FORMAT = 1  # increase it when clips are looked at in another way
SAMPLED = ("few", "no_normal")  # kinds that a sample cannot tell


class Checked(NamedTuple):
    """Recordings in the order of the data set, and findings, the worst first."""

    recordings: list[CheckedRecording]
    findings: list[Finding]


def check_data(data: "MachineSounds", limits: Limits) -> Checked:
    """Check every recording of a data set that is not set up; each is read in full, block by block.

    Raises:
        InputError: there are no recordings, or their names cannot be cells of our tables.
    """
    from rich.progress import track

    clips = data.found()
    check_names(clips)

    def measured(clip: Clip) -> Measures:
        return measure_file(clip.path, data.channel, data.full_scale, limits)

    results = list(track(prefetch(measured, clips, depth=MEASURE_AHEAD), f"checking {data.machine}", total=len(clips)))
    splits = _splits(data, clips, results)
    recordings = [
        CheckedRecording(clip, splits.get(clip.path, ""), found) for clip, found in zip(clips, results, strict=True)
    ]
    findings = [
        *check_each(recordings, data.channel, limits),
        *check_together(recordings, limits),
        *check_copies(recordings, data.channel, data.full_scale, limits),
        *check_unlike(recordings, limits),
    ]
    return Checked(recordings, worst_first(findings))


def _splits(data: "MachineSounds", clips: Sequence[Clip], measures: Sequence[Measures]) -> dict[Path, str]:
    """Return the split of each clip under the protocol; exact copies stay in one where it can choose."""
    first: dict[str, Clip] = {}
    usable = []
    for clip, found in zip(clips, measures, strict=True):
        if found.fault or found.silent:
            continue
        original = first.setdefault(found.digest, clip)
        attributes = {**clip.attributes, "recording": original.recording}
        usable.append(clip if original is clip else replace(clip, attributes=attributes))
    try:
        return {clip.path: clip.split for clip in data.protocol(data.divide(usable))}
    except InputError as reason:
        log.warning("splits are not compared: %s", reason)
        return {}


class LookedAt:
    """Findings in a sample of the clips that a training is about to learn from, kept beside the audio cache.

    Only training and held-out clips are looked at, `HEAD_CLIPS` at most, and no label of a test clip is read.

    Args:
        data: set up.
    """

    def __init__(self, data: "MachineSounds") -> None:
        self.data, self.limits = data, Limits()
        rows = np.concatenate([data.rows("train"), data.rows("validation")])
        self.chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(HEAD_CLIPS, len(rows))).round().astype(int))]
        self.all = len(self.chosen) == len(rows)
        clips = [(data.digests[row], data.clips[row].name, data.clips[row].label) for row in self.chosen]
        key = [FINDINGS_FORMAT, str(self.limits), data.sample_rate, self.all, clips]
        self.kept = KeptValue(data.cache_dir, "findings", key)

    def describe(self, command: str) -> list[str]:
        """Return a line for each kind of finding, and then the command that shows more."""
        lines = self.kept.get(self._lines)
        return [*lines, f"more about these recordings, with sound and pictures: `{command}`"] if lines else []

    def _lines(self) -> list[str]:
        waves, rate = self.data.waves, self.data.sample_rate
        recordings = [
            CheckedRecording(self.data.clips[row], "train", of_cached(np.asarray(waves[row]), rate, self.limits))
            for row in self.chosen
        ]
        findings = [
            *check_each(recordings, 0, self.limits),
            *check_together(recordings, self.limits, labels=False),
            *check_unlike(recordings, self.limits),
        ]
        findings = [one for one in findings if one.severity != "note" and (self.all or one.kind not in SAMPLED)]
        lines = []
        for kind, count in Counter(one.kind for one in worst_first(findings)).items():
            first = next(one for one in findings if one.kind == kind)
            what = "machine IDs" if first.row is None else f"of {len(self.chosen)} recordings looked at"
            where = first.label if first.row is None else printable(recordings[first.row].clip.name)
            lines.append(f"{FINDINGS[kind].title}: {count} {what}, such as {where}: {first.text}")
        return lines


def describe_findings(data: "MachineSounds", command: str) -> list[str]:
    """Say what a training is about to learn from, see `LookedAt`; `command` shows more."""
    return LookedAt(data).describe(command)
