"""Clips on the page of a run: spectrogram, location of the anomaly, sound, members, nearest normal clip."""

import io
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from mimii_pl.core.errors import InputError
from mimii_pl.core.threads import in_threads
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.dataset._channels import channel_path
from mimii_pl.report.figures import Image, data_uri
from mimii_pl.report.localize import Location, localize
from mimii_pl.report.members import Bar, member_bars
from mimii_pl.report.neighbours import Neighbour, NormalClips
from mimii_pl.report.spectrograms import Levels, mel_levels, spectrogram
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.scores import ClipScore

log = logging.getLogger(__name__)
REFERENCE_CLIPS = 8  # with the lowest scores, which others are compared with
PEAK = 0.7  # of the loudest clip that is played, full scale 1
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


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
    normal_clips: NormalClips | None = None,
) -> HeardClips | None:
    """Read, localize and encode chosen clips of one machine ID; None: no file of them is there.

    Args:
        scorer: of the run.
        clips: all test clips of this machine ID, highest score first.
        chosen: clips to show; those whose file is missing are skipped.
        seconds: length to play, at most.
        normal_clips: those that the run learned from, to show the nearest one beside each clip; None: show none.
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
    drawing = _Drawing(scorer.sample_rate, gain_of([*waves.values(), *normal.values()]), seconds)
    with ThreadPoolExecutor(1) as pool:  # encodes while anomalies are localized
        played: dict[str | Path, _Played] = {file: drawing.heard(wave, pool) for file, wave in waves.items()}
        played |= {path: drawing.heard(wave, pool) for path, wave in normal.items()}
        located = partial(localize, scorer, number=number, usual=np.stack(usual))
        locations = list(in_threads(located, waves.values(), scorer.batches_at_once))
    speeds = {clip.file: clip.rpm for clip in chosen}
    heard_clips = []
    for (file, found), location, bars in zip(read.items(), locations, rows, strict=True):
        near = neighbours.get(file)
        beside = played.get(near.path) if near else None
        heard_clips.append(HeardClip(file, found.path.name, played[file], location, bars, near, beside, speeds[file]))
    return HeardClips(drawing, heard_clips)


def show_clips(heard: HeardClips) -> dict[str, Shown]:
    """Draw clips, by file; only one thread may draw at a time."""
    shown = {}
    for clip in heard.clips:
        near, other = clip.neighbour, clip.neighbour_played
        top = max(float(each.levels.decibels.max()) for each in (clip.played, other) if each is not None)
        nearest = heard.drawing.nearest(near, other, top) if near and other is not None else None
        shown[clip.file] = heard.drawing.shown(clip, top, nearest)
    return shown


def gain_of(waves: Sequence[np.ndarray]) -> float:
    """Return one gain for clips int16 [T] that are played side by side, so that their levels can be compared."""
    return PEAK * FULL_SCALE / max(1, *(int(np.abs(wave.astype(int)).max()) for wave in waves))


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
    sound: Future[str]


class _Drawing(NamedTuple):
    """Properties that the clips of a machine ID share: rate in Hz, gain, and seconds to play."""

    rate: int
    gain: float
    seconds: float

    def heard(self, wave: np.ndarray, pool: ThreadPoolExecutor) -> _Played:
        audible = wave[: round(self.seconds * self.rate)] / FULL_SCALE * self.gain
        return _Played(mel_levels(wave, self.rate), pool.submit(sound, audible, self.rate))

    def shown(self, clip: HeardClip, top: float, nearest: NearestShown | None) -> Shown:
        levels, location, rpm = clip.played.levels, clip.location, clip.rpm
        length = levels.samples / self.rate
        words = location_words(location, length, rpm) if location else "not localized: that would have taken too long"
        if location and location.amount.max() <= 0:  # it would be blank
            location = None
        alt = f"Spectrogram of {clip.name}, {length:.1f} s: {words}."
        picture = spectrogram(levels, location, alt, top=top, rpm=rpm)
        return Shown(picture, clip.played.sound.result(), _joined(words, speed_words(rpm)), clip.members, nearest)

    def nearest(self, found: Neighbour, clip: _Played, top: float) -> NearestShown:
        name = found.path.name
        picture = spectrogram(clip.levels, alt=f"Spectrogram of the normal clip {name}.", top=top, rpm=found.rpm)
        return NearestShown(name, picture, clip.sound.result(), _joined(found.words, speed_words(found.rpm)))


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


def sound(wave: np.ndarray, rate: int) -> str:
    """Return a waveform, full scale 1, as a data URI: MP3 if the rate and libsndfile support it, else FLAC."""
    small = rate in MP3_RATES and "MP3" in soundfile.available_formats()
    kind, mime = ("MP3", "audio/mpeg") if small else ("FLAC", "audio/flac")
    content = io.BytesIO()
    soundfile.write(content, wave, rate, format=kind)
    return data_uri(content.getvalue(), mime)
