"""Check a data set: every recording in full, or in short at the head of a training, from the audio cache."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError, one_line
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


def looked_at(data: "MachineSounds") -> np.ndarray:
    """Choose rows of training and held-out clips, evenly spaced, `HEAD_CLIPS` at most."""
    rows = np.concatenate([data.rows("train"), data.rows("validation")])
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(HEAD_CLIPS, len(rows))).round().astype(int))]


def kept_findings(data: "MachineSounds") -> KeptValue[list[str]]:
    """Return where the findings in clips that are trained on are kept beside the audio cache."""
    clips = [(data.digests[row], data.clips[row].name, data.clips[row].label) for row in looked_at(data)]
    count = len(data.rows("train")) + len(data.rows("validation"))
    key = [FINDINGS_FORMAT, str(Limits()), data.sample_rate, count, clips]
    return KeptValue(data.cache_dir, "findings", key, _validate_lines)


def _validate_lines(lines: Any) -> None:
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise TypeError("these are no lines of text")


def describe_findings(data: "MachineSounds", command: str) -> list[str]:
    """Say what a training is about to learn from: a line for each kind of finding, from a sample of the cache.

    Only training and held-out clips are looked at, and no label of a test clip is read.

    Args:
        data: set up.
        command: that shows more, named in the last line.
    """
    try:
        lines = kept_findings(data).get(lambda: _finding_lines(data, Limits()))
    except Exception as error:  # advice must not end a training
        log.debug("%s", error, exc_info=True)
        return [f"the recordings could not be checked: {type(error).__name__}: {one_line(error)}"]
    return [*lines, f"more about these recordings, with sound and pictures: `{command}`"] if lines else []


def _finding_lines(data: "MachineSounds", limits: Limits) -> list[str]:
    chosen = looked_at(data)
    recordings = [
        CheckedRecording(data.clips[row], "train", of_cached(np.asarray(data.waves[row]), data.sample_rate, limits))
        for row in chosen
    ]
    findings = [
        *check_each(recordings, 0, limits),
        *check_together(recordings, limits, labels=False),
        *check_unlike(recordings, limits),
    ]
    complete = len(chosen) == len(data.rows("train")) + len(data.rows("validation"))
    findings = [one for one in findings if one.severity != "note" and (complete or one.kind not in SAMPLED)]
    lines = []
    for kind, count in Counter(one.kind for one in worst_first(findings)).items():
        first = next(one for one in findings if one.kind == kind)
        what = "machine IDs" if first.row is None else f"of {len(chosen)} recordings looked at"
        where = first.label if first.row is None else printable(recordings[first.row].clip.name)
        lines.append(f"{FINDINGS[kind].title}: {count} {what}, such as {where}: {first.text}")
    return lines
