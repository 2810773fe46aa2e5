"""Findings about the recordings of a machine ID beside one another: level, format, length, sessions, number."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from mimii_pl.core.foreign import printable
from mimii_pl.core.grouping import group_by
from mimii_pl.quality.findings import CheckedRecording, Finding
from mimii_pl.quality.limits import Limits
from mimii_pl.quality.spectrum import EDGES, HUM_LINES
from mimii_pl.scoring.metrics import auc

LEAST_GROUP = 5  # recordings that a comparison needs
LEAST_SIDE = 3  # recordings of each condition that sessions are compared of
SAME_LENGTH = 0.02  # share by which lengths in s may differ and count as one
HUM_RISE = 6.0  # dB of a quarter octave with hum above that of recordings without
MOST_COMMON = 0.5  # share of the recordings that have what counts as usual
SESSION_NAMES = re.compile(
    r"date|day|time|session|mic|sensor|record(er|ing_?day)|device|channel|operator|loc|room|site|noise", re.I
)
DATES = re.compile(r"(?<!\d)(20\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
TOKENS = re.compile(
    r"(?<![a-z])(mic|microphone|sensor|session|day|recorder|device)[-_ ]?([a-z]?\d+|[a-d])(?![a-z\d])", re.I
)
VALUES_SHOWN = 3

Row = tuple[int, CheckedRecording]


def check_together(recordings: Sequence[CheckedRecording], limits: Limits, *, labels: bool = True) -> Iterator[Finding]:
    """Yield the findings that compare recordings of a machine ID.

    Args:
        labels: False: the conditions of recordings that are tested are not read.
    """
    for label, rows in group_by(enumerate(recordings), lambda row: row[1].clip.label).items():
        heard = [row for row in rows if row[1].has_sound]
        normal = [row for row in heard if row[1].clip.condition != "anomaly"]
        if not normal:
            text = f"none of {len(rows)} recordings is normal and usable"
            yield Finding("no_normal", "error", label, None, text, len(rows))
            continue
        if (count := len({row[1].clip.recording for row in normal})) < limits.few:
            text = f"{count} normal, {sum(row[1].measures.seconds for row in normal):.3g} s in all"
            yield Finding("few", "warning", label, None, text, -count)
        stopped = list(_stopped(label, heard, normal, limits))
        yield from stopped
        yield from _levels(label, normal, {one.row for one in stopped}, limits)
        yield from _unusual(label, heard)
        yield from _durations(label, heard, limits)
        yield from _hum(label, heard, limits)
        if labels:
            yield from _level_auc(label, heard, limits)
            yield from _one_sided(label, heard)


def robust(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the median, and the standard deviation of a normal distribution with the same median deviation."""
    median = float(np.median(values))
    return median, float(1.4826 * np.median(np.abs(np.asarray(values) - median)))


def _stopped(label: str, heard: Sequence[Row], normal: Sequence[Row], limits: Limits) -> Iterator[Finding]:
    if len(normal) < LEAST_GROUP:
        return
    typical = float(np.median([recording.measures.typical_level for _, recording in normal]))
    for row, recording in heard:
        share = recording.measures.share_below(typical - limits.stopped)
        if share >= limits.stopped_share:
            below = f"{limits.stopped:g} dB below the {typical:.0f} dB of its machine"
            text = f"{100 * share:.0f} % of it is more than {below}"
            yield Finding("stopped", "warning", label, row, text, share, exclude=True)


def _levels(label: str, normal: Sequence[Row], known: set[int | None], limits: Limits) -> Iterator[Finding]:
    if len(normal) < LEAST_GROUP:
        return
    median, spread = robust([recording.measures.level for _, recording in normal])
    for row, recording in normal:
        away = recording.measures.level - median
        if row not in known and abs(away) >= max(limits.level, limits.spread * spread):
            text = (
                f"{recording.measures.level:.1f} dB, {abs(away):.1f} dB {'above' if away > 0 else 'below'} the median"
            )
            yield Finding("level", "warning", label, row, text, abs(away))


def _level_auc(label: str, heard: Sequence[Row], limits: Limits) -> Iterator[Finding]:
    known = [recording for _, recording in heard if recording.clip.condition]
    labels = [int(recording.clip.condition == "anomaly") for recording in known]
    if min(sum(labels), len(labels) - sum(labels)) < LEAST_GROUP:
        return
    area = auc(labels, [recording.measures.level for recording in known])
    if max(area, 1 - area) >= limits.level_auc:
        words = "louder" if area > 0.5 else "quieter"
        text = f"anomalies are {words}: AUC {max(area, 1 - area):.3f} by the level alone, {len(labels)} recordings"
        yield Finding("level_auc", "warning", label, None, text, max(area, 1 - area))


def _unusual(label: str, heard: Sequence[Row]) -> Iterator[Finding]:
    """Yield recordings whose format is not that of most."""
    formats: dict[str, tuple[str, Callable[[CheckedRecording], Hashable], str]] = {
        "rate": ("rate", lambda one: one.measures.rate, "Hz"),
        "channels": ("format", lambda one: one.measures.channels, "channels"),
        "bits": ("format", lambda one: one.measures.bits or one.measures.subtype, "bits"),
    }
    for kind, value, unit in formats.values():
        counts = Counter(value(recording) for _, recording in heard)
        usual, most = counts.most_common(1)[0]
        for row, recording in heard:
            if (own := value(recording)) != usual and most > MOST_COMMON * len(heard):
                text = f"{_with_unit(own, unit)}; {most} of {len(heard)} have {_with_unit(usual, unit)}"
                yield Finding(kind, "warning" if kind == "rate" else "note", label, row, text, 1 / counts[own])
        if len(counts) > 1 and most <= MOST_COMMON * len(heard):
            text = ", ".join(f"{count} of {_with_unit(name, unit)}" for name, count in counts.most_common(VALUES_SHOWN))
            yield Finding(kind, "warning" if kind == "rate" else "note", label, None, text, len(counts))


def _with_unit(value: Hashable, unit: str) -> str:
    return f"{value} {unit}" if isinstance(value, int) else str(value)


def _durations(label: str, heard: Sequence[Row], limits: Limits) -> Iterator[Finding]:
    median = float(np.median([recording.measures.seconds for _, recording in heard]))
    for row, recording in heard:
        seconds = recording.measures.seconds
        ratio = max(seconds / median, median / seconds)
        if ratio > limits.duration:
            text = f"{seconds:.3g} s; the median is {median:.3g} s"
            yield Finding("duration", "warning", label, row, text, ratio)


def _hum(label: str, heard: Sequence[Row], limits: Limits) -> Iterator[Finding]:
    """Yield hum that most recordings of a machine do not have; a machine that turns at about that speed is no hum."""
    humming = [(row, one.measures) for row, one in heard if one.measures.hum[1] >= limits.hum]
    if not humming:
        return
    if len(humming) > MOST_COMMON * len(heard):
        mains = Counter(measures.hum[0] for _, measures in humming).most_common(1)[0][0]
        share = float(np.median([measures.hum[1] for _, measures in humming]))
        text = f"{len(humming)} of {len(heard)} have {100 * share:.0f} % of their power at multiples of {mains} Hz"
        yield Finding("hum", "note", label, None, text, share)
        return
    others = [one.measures.bands for _, one in heard if one.measures.hum[1] < limits.hum]
    if len(others) < LEAST_GROUP:
        return
    usual = np.median(others, axis=0)  # NaN where one of them has no band
    for row, measures in humming:
        mains, share = measures.hum
        places = np.searchsorted(EDGES, mains * np.arange(1, HUM_LINES + 1)) - 1
        if (measures.bands[places] >= usual[places] + HUM_RISE).any():
            text = f"{100 * share:.0f} % of its power at multiples of {mains} Hz, unlike most of its machine"
            yield Finding("hum", "warning", label, row, text, share)


# --- sessions --------------------------------------------------------------------------------------------------------
def _one_sided(label: str, heard: Sequence[Row]) -> Iterator[Finding]:
    """Yield what tells normal from anomalous recordings beside the sound: a day, a microphone, a format."""
    sides = {
        condition: [one for _, one in heard if one.clip.condition == condition] for condition in ("normal", "anomaly")
    }
    if min(map(len, sides.values())) < LEAST_SIDE:
        return
    for name, told in _sessions([one for side in sides.values() for one in side]).items():
        normal, anomaly = (Counter(told(one) for one in side) for side in sides.values())
        if "" in normal or "" in anomaly or normal.keys() & anomaly.keys():
            continue
        most_values = max(len(normal) / len(sides["normal"]), len(anomaly) / len(sides["anomaly"]))
        if most_values <= MOST_COMMON:  # else it numbers recordings
            text = f"{name}: anomalies {_listed_values(anomaly)}; normal {_listed_values(normal)}"
            yield Finding("one_sided", "warning", label, None, text, len(heard))


def _listed_values(counts: Counter[str]) -> str:
    shown = ", ".join(f"{printable(value)[:40]} ({count})" for value, count in counts.most_common(VALUES_SHOWN))
    return f"{shown} and {len(counts) - VALUES_SHOWN} more" if len(counts) > VALUES_SHOWN else shown


def _sessions(recordings: Sequence[CheckedRecording]) -> dict[str, Callable[[CheckedRecording], str]]:
    """Return what may tell a session of each recording: name -> function, which gives an empty text if unknown."""
    told: dict[str, Callable[[CheckedRecording], str]] = {
        "sampling frequency": lambda one: f"{one.measures.rate} Hz",
        "channels": lambda one: str(one.measures.channels),
        "sample format": lambda one: one.measures.subtype,
        "length": lambda one: f"{_rounded(one.measures.seconds):.3g} s",
        "file date": _file_date,
        "date in the name": lambda one: _day(_name(one)),
    }
    words = {match[1].lower() for one in recordings for match in TOKENS.finditer(_name(one))}
    for word in sorted(words):
        told[f"{word} in the name"] = lambda one, word=word: next(  # type: ignore[misc]
            (match[2].lower() for match in TOKENS.finditer(_name(one)) if match[1].lower() == word), ""
        )
    attributes = {name for one in recordings for name in one.clip.attributes if name != "recording"}
    for name in sorted(filter(SESSION_NAMES.search, attributes)):
        told[printable(name)[:40]] = lambda one, name=name: _session_value(one.clip.attributes.get(name, ""))  # type: ignore[misc]
    return told


def _name(recording: CheckedRecording) -> str:
    path = recording.clip.path
    return "/".join((*path.parts[-4:-1], path.stem))


def _rounded(seconds: float) -> float:
    """Round a length so that those that differ by a few per cent become equal."""
    return float(np.exp(round(np.log(max(seconds, 1e-3)) / SAME_LENGTH) * SAME_LENGTH))


def _file_date(recording: CheckedRecording) -> str:
    try:
        return datetime.fromtimestamp(recording.clip.path.stat().st_mtime, UTC).date().isoformat()
    except (OSError, ValueError, OverflowError):
        return ""


def _session_value(cell: object) -> str:
    """Return the day of a time, and any other value as it is."""
    text = str(cell)
    return _day(text) or text


def _day(text: str) -> str:
    """Return the first date of a text as year, month and day; empty if there is none."""
    match = DATES.search(text)
    return "-".join(match.group(1, 3, 4)) if match else ""
