"""Scores of a recording over time, window by window, and the events in it."""

import io
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.prefetch import read_ahead
from mimii_pl.dataset._audio import UnreadableClip, one_channel
from mimii_pl.dataset._stream import Part, Streamed, stream
from mimii_pl.scoring.overview import BandLevels, Overview

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer
    from mimii_pl.threshold._threshold import Thresholds

RELEASE = 0.8  # default of `Windows.release`
STEP_DB = 0.5  # of stored levels
LOWEST = -120.0  # dB of the lowest stored level; the number 0 stands for NaN
ON_CPU = 8  # windows scored at a time there: more only take memory
Run = tuple[int, int, int]  # first, highest and last window
NOT_A_NUMBER = "the detector's score is not a number"


class Windows(NamedTuple):
    """Division of a recording into windows, and of its scores into events.

    Attributes:
        hop: s from the start of a window to that of the next.
        release: an event ends where the score falls below this share of the way from the median of the held-out
            normal clips to the threshold.
    """

    hop: float
    release: float = RELEASE

    @classmethod
    def of(cls, seconds: float, hop: float | None, release: float = RELEASE) -> "Windows":
        """Validate the options for clips of a length in s; hop None: half a clip.

        Raises:
            InputError: the hop is longer than a clip, so that parts would not be heard, or an option is no such number.
        """
        hop = seconds / 2 if hop is None else hop
        if not 0 < hop <= seconds:
            raise InputError(
                f"hop={hop:g}: should be above 0 s and at most {seconds:g} s, the length of a clip of this run, so "
                "that all of a recording is heard"
            )
        if not 0 <= release <= 1:
            raise InputError(f"release={release:g}: should be from 0 to 1")
        return cls(hop, release)


class Event(NamedTuple):
    """Contiguous windows above the threshold; runs of windows that overlap in time are one event.

    Attributes:
        start, end: of the first and the last window, in s.
        peak: start of the window with the highest score, in s.
        score: of that window.
        windows: from the first to the last.
        low_hz, high_hz: edges of the band that rises most above its median over the recording.
        rise_db: of that band.
    """

    start: float
    end: float
    peak: float
    score: float
    windows: int
    low_hz: float
    high_hz: float
    rise_db: float


class Timeline(NamedTuple):
    """Scores of the W windows of a recording.

    Attributes:
        machine_id: that it was compared with, `fan/id_00`; empty: none was needed.
        seconds: length of the recording.
        start, end: [W] in s.
        score: [W], higher is more anomalous; NaN: the window cannot be used.
        higher_than: [W] share of the held-out normal clips of the machine ID with a lower score.
        anomalous: [W] bool, above the threshold.
        threshold: of the machine ID.
        release: score below which an event ends.
        faults: number of a window that cannot be used -> the reason.
        events: in the order of time.
        levels: spectrogram.
    """

    machine_id: str
    seconds: float
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    higher_than: np.ndarray
    anomalous: np.ndarray
    threshold: float
    release: float
    faults: dict[int, str]
    events: list[Event]
    levels: BandLevels

    @property
    def mean(self) -> float:
        """Mean score of the windows that can be used."""
        return float(np.nanmean(self.score))

    @property
    def maximum(self) -> float:
        """Highest score."""
        return float(np.nanmax(self.score))

    @property
    def percentile_95(self) -> float:
        """Score that 5 % of the windows exceed."""
        return float(np.nanquantile(self.score, 0.95))

    @property
    def above(self) -> float:
        """Share of the usable windows above the threshold."""
        return float(self.anomalous.sum() / max(1, (~np.isnan(self.score)).sum()))

    def to_text(self) -> str:
        """Store as one word, from which `from_text` restores it; levels are rounded to `STEP_DB`."""
        numbers = np.clip(np.round((self.levels.level - LOWEST) / STEP_DB), 0, 254)
        stored = {
            **{name: getattr(self, name) for name in ("start", "end", "score", "higher_than", "anomalous")},
            "level": np.where(np.isnan(numbers), 0, numbers + 1).astype(np.uint8),
            "hertz": self.levels.hertz,
            "numbers": np.array([self.seconds, self.threshold, self.release, self.levels.seconds]),
            "events": np.array(self.events, float).reshape(-1, len(Event._fields)),
            "faulty": np.array(list(self.faults), int),
            "words": np.array([self.machine_id, *self.faults.values()]),
        }
        content = io.BytesIO()
        np.savez_compressed(content, **stored)
        return b64encode(content.getvalue()).decode()

    @classmethod
    def from_text(cls, text: str) -> "Timeline":
        """Restore what `to_text` stored."""
        with np.load(io.BytesIO(b64decode(text)), allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}
        seconds, threshold, release, column = parts["numbers"].tolist()
        machine_id, *reasons = parts["words"].tolist()
        level = np.where(parts["level"] == 0, np.nan, (parts["level"].astype(np.float32) - 1) * STEP_DB + LOWEST)
        events = [Event._make([*row[:4], int(row[4]), *row[5:]]) for row in parts["events"].tolist()]
        return cls(
            machine_id=machine_id,
            seconds=seconds,
            **{name: parts[name] for name in ("start", "end", "score", "higher_than", "anomalous")},
            threshold=threshold,
            release=release,
            faults=dict(zip(parts["faulty"].tolist(), reasons, strict=True)),
            events=events,
            levels=BandLevels(level, parts["hertz"], column),
        )


class WindowScorer(Protocol):
    """Scores windows; a `BaseScorer` does, and so may others with the same clips and thresholds.

    Attributes:
        labels, sample_rate, samples, thresholds: as those of a `BaseScorer`.
    """

    labels: list[str]
    sample_rate: int
    samples: int
    thresholds: "Thresholds | None"

    @property
    def seconds(self) -> float:
        """Length of a clip in s."""

    def score_waves(self, waves: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return anomaly scores [N] of clips, int16 [N, samples]."""

    def over_channels(self, values: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuse scores of channels by recording."""


class TimelineBuilder:
    """Collects the windows of a recording while it is read, and their scores.

    Args:
        scorer: with thresholds.
        windows: how it is divided.
        label: machine ID; empty: none is needed.
    """

    def __init__(self, scorer: WindowScorer, windows: Windows, label: str) -> None:
        assert scorer.thresholds is not None
        self.windows, self.label, self.thresholds = windows, label, scorer.thresholds
        self.rate, self.clip = scorer.sample_rate, scorer.seconds
        self.starts: list[float] = []
        self.scores: list[float] = []
        self.faults: dict[int, str] = {}
        self.overview = Overview(scorer.sample_rate)
        self.seconds, self.heard = 0.0, 0  # of the recording, and samples that the overview has

    def add(self, part: Part) -> int:
        """Add the next window, whose score is NaN until it is set; return its number."""
        number = len(self.starts)
        self.starts.append(part.start)
        self.scores.append(math.nan)
        begin = max(0, self.heard - round(part.start * self.rate))  # what it shares with the window before
        new = round(self.clip * self.rate) - begin
        if part.wave is None:
            self.faults[number] = str(part.fault)
            self.overview.skip(new)
        else:
            wave = part.wave if part.wave.ndim == 1 else one_channel(part.wave.T, "mean")
            self.overview.add(wave[begin:])
        self.heard += new
        return number

    def set(self, number: int, score: float) -> None:
        """Set the score of a window."""
        self.scores[number] = score
        if math.isnan(score):
            self.faults.setdefault(number, NOT_A_NUMBER)

    def finish(self) -> Timeline:
        """Return the timeline, when all scores are set.

        Raises:
            InputError: no window can be used.
        """
        if len(self.faults) == len(self.starts):
            raise InputError(self.faults[0])
        number = self.thresholds.number(self.label)
        start, score = np.array(self.starts), np.array(self.scores)
        ids = np.full(len(score), number)
        threshold = self.thresholds.of(self.label)
        usual = float(np.median(self.thresholds.normal_of(self.label)))
        release = min(threshold, usual + self.windows.release * (threshold - usual))
        end = np.minimum(start + self.clip, self.seconds)
        known = ~np.isnan(score)
        rank = np.where(known, self.thresholds.rank(score, ids), np.nan)
        found = self.overview.levels()
        found = found._replace(level=found.level[:, : max(1, math.ceil(self.seconds / found.seconds))])
        events = [
            Event(
                float(start[first]),
                float(end[last]),
                float(start[peak]),
                float(score[peak]),
                last + 1 - first,
                *found.loudest(float(start[first]), float(end[last])),
            )
            for first, peak, last in _merged(runs_above(score, threshold, release), start, end, score)
        ]
        anomalous = self.thresholds.decide(score, ids).astype(bool)
        return Timeline(
            self.label, self.seconds, start, end, score, rank, anomalous, threshold, release, self.faults, events, found
        )


def runs_above(score: np.ndarray, threshold: float, release: float) -> list[Run]:
    """Find runs of windows that rise above a threshold and do not fall below the release score.

    Args:
        score: [W]; NaN ends a run.

    Returns:
        (first, highest, last) window of each run. Windows before the first that exceed the release score belong to
        the run only from the first one above the threshold on.

    >>> runs_above(np.array([0, 3, 2, 3, 0, 2, 5]), threshold=2.5, release=1.5)
    [(1, 1, 3), (6, 6, 6)]
    """
    found: list[Run] = []
    first: int | None = None
    for number, value in enumerate([*score.tolist(), math.nan]):
        if first is not None and not value >= release:
            found.append((first, first + int(np.argmax(score[first:number])), number - 1))
            first = None
        elif first is None and value > threshold:
            first = number
    return found


def _merged(runs: Sequence[Run], start: np.ndarray, end: np.ndarray, score: np.ndarray) -> list[Run]:
    """Join runs whose first and last windows overlap in time."""
    merged: list[Run] = []
    for run in runs:
        if merged and start[run[0]] < end[merged[-1][2]]:
            first, peak, _ = merged.pop()
            run = (first, max(peak, run[1], key=lambda number: score[number]), run[2])
        merged.append(run)
    return merged


def read_windows(scorer: "BaseScorer", path: Path, builder: TimelineBuilder) -> Iterator[tuple[int, np.ndarray]]:
    """Read a recording into a builder; yield number and samples of every window that can be used.

    Samples are int16 [samples], or [C, samples] where the scores of channels are fused.

    Raises:
        UnreadableClip: the recording cannot be used.
    """
    parts = stream(
        path,
        sample_rate=scorer.sample_rate,
        samples=scorer.samples,
        hop=max(1, round(builder.windows.hop * scorer.sample_rate)),
        channel=scorer.channel,
        full_scale=scorer.full_scale,
    )
    for part in parts:
        if isinstance(part, Streamed):
            builder.seconds = part.seconds
            continue
        number = builder.add(part)
        if part.wave is not None:
            yield number, part.wave


def score_windows(
    scorer: WindowScorer, batch: Sequence[tuple[TimelineBuilder, int, np.ndarray]], ids: np.ndarray
) -> None:
    """Score windows (builder, number, samples) of any recordings, with machine ID numbers [N], and set their scores."""
    waves = [np.atleast_2d(wave) for *_, wave in batch]
    channels = [len(wave) for wave in waves]
    owners = np.repeat(np.arange(len(batch)), channels)
    scores, _ = scorer.over_channels(scorer.score_waves(np.concatenate(waves), np.repeat(ids, channels)), owners)
    for (builder, number, _), score in zip(batch, scores.tolist(), strict=True):
        builder.set(number, score)


def windows_at_a_time(scorer: "BaseScorer") -> int:
    """Return how many windows are scored in one batch."""
    return min(ON_CPU, scorer.batch_size) if scorer.device.type == "cpu" else scorer.batch_size


def make_timeline(scorer: "BaseScorer", path: Path, windows: Windows, number: int) -> Timeline:
    """Score a recording window by window.

    Args:
        number: of its machine ID; -1: none is needed.

    Raises:
        InputError: it cannot be used.
    """
    builder = TimelineBuilder(scorer, windows, scorer.labels[number] if number >= 0 else "")
    size = windows_at_a_time(scorer)
    found = read_ahead(read_windows(scorer, path, builder), depth=2 * size)
    try:
        while batch := [(builder, *window) for window in islice(found, size)]:
            score_windows(scorer, batch, np.full(len(batch), number))
        return builder.finish()
    except (UnreadableClip, InputError) as reason:
        raise InputError(f"{path}: {reason}") from None
