"""Findings: what is wrong with a recording or a machine ID, how bad it is, and what to do about it."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from mimii_pl.dataset._clip import Clip
from mimii_pl.quality.measures import Measures

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class FindingKind(NamedTuple):
    """A kind of finding: what it is, and what to do."""

    title: str
    advice: str


FINDINGS = {
    "unreadable": FindingKind("cannot be read", "save it again as wav or FLAC; it is left out of everything"),
    "silence": FindingKind("digital silence", "check microphone and cable, record again"),
    "no_normal": FindingKind("nothing to learn from", "record the machine while it is healthy"),
    "copy": FindingKind("exact copies", "keep one; where labels differ, find out which is right"),
    "near_copy": FindingKind(
        "near copies: the same sound, changed", "keep one, or give both the same recording in a table"
    ),
    "one_sided": FindingKind(
        "one-sided sessions", "record both conditions in each session, or the session is what is learned"
    ),
    "level_auc": FindingKind(
        "the level alone tells the labels apart",
        "record both with the same gain and distance, if the fault is not loud",
    ),
    "clipping": FindingKind("clipping", "lower the gain and record again"),
    "dropouts": FindingKind("dropped blocks", "look for an overloaded recorder or a loose cable, record again"),
    "stopped": FindingKind("machine not running", "cut the part where it runs, or leave the recording out"),
    "dead_channel": FindingKind("dead channel", "choose a live one: dataset.channel=<number>"),
    "same_channels": FindingKind(
        "channels that are equal or inverted", "they are one microphone: dataset.channel=0, not mean"
    ),
    "unlike": FindingKind("unlike all the rest of its folder", "listen: mislabelled, another machine, or a rare state"),
    "level": FindingKind("level unlike its machine's others", "compare gain and distance of the microphone"),
    "offset": FindingKind("mean far from zero", "filter it out, unless it is gravity on an accelerometer"),
    "rate": FindingKind(
        "other sampling frequency than most", "record all alike; a lower one lacks the high frequencies"
    ),
    "band": FindingKind(
        "energy ends below half the sampling frequency", "record lossless, or set dataset.sample_rate to twice the edge"
    ),
    "format": FindingKind("other channels or bits than most", "record all alike"),
    "bits": FindingKind("few bits in use", "raise the gain, or save 16 bits or more"),
    "duration": FindingKind("much longer or shorter than most", "cut recordings to one length, or set dataset.seconds"),
    "hum": FindingKind("mains hum", "check grounding and cables, unless the machine itself hums"),
    "few": FindingKind("few recordings", "record more: thresholds and AUCs are unsure"),
}


class Finding(NamedTuple):
    """A finding about a recording, or about a machine ID if `row` is None.

    Attributes:
        kind: key of `FINDINGS`.
        label: machine type and ID.
        row: of the recording.
        text: what was found, in numbers.
        value: how bad it is; higher is worse, within a kind.
        exclude: whether training is better off without the recording.
        at: place in the recording in s, to look at.
        other: row of the recording that it is a copy of.
    """

    kind: str
    severity: Severity
    label: str
    row: int | None
    text: str
    value: float = 0.0
    exclude: bool = False
    at: float | None = None
    other: int | None = None


class CheckedRecording(NamedTuple):
    """A recording with its split (empty if in none) and its measures."""

    clip: Clip
    split: str
    measures: Measures

    @property
    def has_sound(self) -> bool:
        """True if it can be read and is not digital silence."""
        return not self.measures.fault and not self.measures.silent


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by severity, then by kind in the order of `FINDINGS`, the worst of each first."""
    order = list(FINDINGS)
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), order.index(one.kind), -one.value))
