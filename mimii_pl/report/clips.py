"""Clips on the page of a run: spectrogram, location of the anomaly, sound, members, nearest normal clip."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.helper import Helper, Pending
from mimii_pl.core.threads import in_threads
from mimii_pl.dataset._channels import channel_path
from mimii_pl.report.figures import Image
from mimii_pl.report.levels import mel_levels
from mimii_pl.report.localize import localizer
from mimii_pl.report.members import Bar, member_bars
from mimii_pl.report.neighbours import Neighbour, NormalClips
from mimii_pl.report.sounds import gain_of, sound
from mimii_pl.report.spectrograms import Levels, Location, spectrogram
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.scores import ClipScore

log = logging.getLogger(__name__)
REFERENCE_CLIPS = 8  # with the lowest scores, which others are compared with


class NearestShown(NamedTuple):
    """The nearest normal clip of a clip on the page."""

    name: str
    picture: Image
    sound: str
    words: str


class Shown(NamedTuple):
    """A clip on the page: pictures, a data URI of its sound, and the location of the anomaly in words.

    Attributes:
        members: a bar per member of the back end, and the mean; empty if there is only one.
        nearest: its nearest normal clip; None without embeddings.
    """

    picture: Image
    sound: str
    words: str
    members: list[Bar]
    nearest: NearestShown | None


class HeardClip(NamedTuple):
    """All that the picture of a clip is drawn from.

    Attributes:
        file: as in `scores.csv`.
        name: of the file, and the channel.
        played: levels and sound.
        location: of the anomaly; None: not localized.
        members: a bar of each.
        neighbour: its nearest normal clip; None without embeddings.
        neighbour_played: levels and sound of it; None: its file is missing.
        rpm: speed of the shaft in revolutions per minute; None: unknown.
    """

    file: str
    name: str
    played: "_Played"
    location: Location | None
    members: list[Bar]
    neighbour: Neighbour | None
    neighbour_played: "_Played | None"
    rpm: float | None


class HeardClips(NamedTuple):
    """Clips of one machine ID, and what they share."""

    drawing: "_Drawing"
    clips: list[HeardClip]


def hear_clips(
    scorer: BaseScorer,
    clips: Sequence[ClipScore],
    chosen: Sequence[ClipScore],
    seconds: float,
    normal_clips: NormalClips | None,
    helper: Helper,
) -> HeardClips | None:
    """Read, localize and encode chosen clips of one machine ID; None: no file of them is there.

    Args:
        scorer: of the run.
        clips: all test clips of this machine ID, highest score first.
        chosen: clips to show; those whose file is missing are skipped.
        seconds: length to play, at most.
        normal_clips: those that the run learned from, to show the nearest one beside each clip; None: show none.
        helper: encodes sound.
    """
    assert scorer.thresholds is not None
    number = scorer.thresholds.number(f"{chosen[0].machine}/{chosen[0].id}")
    read = {clip.file: found for clip in chosen if (found := _read(scorer, clip.file, number))}
    waves = {file: found.wave for file, found in read.items()}
    last = clips[: -REFERENCE_CLIPS - 1 : -1]
    usual = [found.wave for clip in last if (found := _read(scorer, clip.file, number))]
    if not waves or not usual:
        return None
    nearest_to = normal_clips.nearest if normal_clips else lambda _: None
    neighbours = {file: near for file, found in read.items() if (near := nearest_to(str(found.path)))}
    normal = {
        path: heard.wave
        for path in dict.fromkeys(near.path for near in neighbours.values())
        if (heard := _read(scorer, path, number))
    }
    rows: list[list[Bar]] = [[] for _ in waves]
    if names := scorer.member_names:
        scores = scorer.member_waves(np.stack(list(waves.values())), np.full(len(waves), number))
        rows = member_bars(names, scores, scorer.member_weights)
    drawing = _Drawing(scorer.sample_rate, gain_of([*waves.values(), *normal.values()]), seconds, helper)
    played: dict[str | Path, _Played] = {file: drawing.heard(wave) for file, wave in waves.items()}
    played |= {path: drawing.heard(wave) for path, wave in normal.items()}
    localize = localizer(scorer, number, np.stack(usual))
    locations = list(in_threads(localize, waves.values(), scorer.batches_at_once))
    speeds = {clip.file: clip.rpm for clip in chosen}
    heard_clips = []
    for (file, found), location, bars in zip(read.items(), locations, rows, strict=True):
        near = neighbours.get(file)
        beside = played.get(near.path) if near else None
        heard_clips.append(HeardClip(file, found.path.name, played[file], location, bars, near, beside, speeds[file]))
    return HeardClips(drawing, heard_clips)


def show_clips(heard: HeardClips) -> dict[str, Callable[[], Shown]]:
    """Have clips drawn, by file; each call returns one when it is drawn."""
    shown = {}
    for clip in heard.clips:
        near, other = clip.neighbour, clip.neighbour_played
        top = max(float(each.levels.decibels.max()) for each in (clip.played, other) if each is not None)
        nearest = heard.drawing.nearest(near, other, top) if near and other is not None else lambda: None
        shown[clip.file] = heard.drawing.shown(clip, top, nearest)
    return shown


class _Read(NamedTuple):
    """A clip, int16 [samples], and its file; of several channels, the one with the highest score and its name."""

    path: Path
    wave: np.ndarray


def _read(scorer: BaseScorer, file: str | Path, number: int) -> _Read | None:
    try:
        wave = scorer.read(Path(file)).wave
    except InputError as reason:
        log.warning("clip is missing from the report: %s", reason)
        return None
    if wave.ndim == 1:
        return _Read(Path(file), wave)
    highest = int(scorer.score_waves(wave, np.full(len(wave), number)).argmax())
    return _Read(channel_path(Path(file), highest), wave[highest])


class _Played(NamedTuple):
    """Levels of a clip, and its sound as a data URI."""

    levels: Levels
    sound: Pending[str]


class _Drawing(NamedTuple):
    """Properties that the clips of a machine ID share: rate in Hz, gain, seconds to play, who draws and encodes."""

    rate: int
    gain: float
    seconds: float
    helper: Helper

    def heard(self, wave: np.ndarray) -> _Played:
        audible = wave[: round(self.seconds * self.rate)]
        return _Played(mel_levels(wave, self.rate), self.helper.submit(sound, audible, self.gain, self.rate))

    def shown(self, clip: HeardClip, top: float, nearest: Callable[[], NearestShown | None]) -> Callable[[], Shown]:
        levels, location, rpm = clip.played.levels, clip.location, clip.rpm
        length = levels.samples / self.rate
        words = location_words(location, length, rpm) if location else "not localized: that would have taken too long"
        if location and location.amount.max() <= 0:  # it would be blank
            location = None
        alt = f"Spectrogram of {clip.name}, {length:.1f} s: {words}."
        picture = self.helper.submit(spectrogram, levels, alt, location, top, rpm)
        words = _joined(words, speed_words(rpm))
        return lambda: Shown(picture.result(), clip.played.sound.result(), words, clip.members, nearest())

    def nearest(self, found: Neighbour, clip: _Played, top: float) -> Callable[[], NearestShown]:
        alt = f"Spectrogram of the normal clip {found.path.name}."
        picture = self.helper.submit(spectrogram, clip.levels, alt, None, top, found.rpm)
        words = _joined(found.words, speed_words(found.rpm))
        return lambda: NearestShown(found.path.name, picture.result(), clip.sound.result(), words)


def location_words(location: Location, length: float, rpm: float | None = None) -> str:
    """Describe the frequency that adds most to the score, in Hz and orders, and the time if one stands out.

    Args:
        length: of the clip in s.
        rpm: speed of the shaft in revolutions per minute; None: unknown, without orders.
    """
    if location.amount.max() <= 0:
        return "no part stands out: it differs from usual clips everywhere"
    rows, columns = location.amount.mean(axis=1), location.amount.mean(axis=0)
    words = []
    if len(rows) > 1:
        hertz = location.hertz[rows.argmax() : rows.argmax() + 2].mean()
        order = f" (order {float(f'{hertz / rpm * 60:.2g}'):g})" if rpm else ""
        words.append(f"near {hertz:.2g} Hz{order}" if hertz < 100 else f"near {hertz / 1000:.2g} kHz{order}")
    usual, spread = np.median(columns), np.subtract(*np.quantile(columns, (0.75, 0.25)))
    if columns.max() > usual + 4 * spread:
        words.append(f"at {(columns.argmax() + 0.5) / len(columns) * length:.1f} s")
    return f"most striking {', '.join(words)}" if words else "nothing stands out"


def speed_words(rpm: float | None) -> str:
    """Say the speed of a shaft in revolutions per minute, and the frequency of its first order; empty if unknown."""
    return f"shaft at {rpm:g} rev/min, order 1 is {rpm / 60:.4g} Hz" if rpm else ""


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
