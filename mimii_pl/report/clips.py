"""Clips on the page of a run: spectrogram, location of the anomaly, sound, members, nearest normal clip."""

import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.features.log_mel import LogMel
from mimii_pl.report.figures import Image, as_image, data_uri
from mimii_pl.report.localize import Location, localize
from mimii_pl.report.members import Bar, member_bars
from mimii_pl.report.neighbours import Neighbour, NormalClips
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.scores import ClipScore

log = logging.getLogger(__name__)
MEL_BANDS = 96  # of the spectrograms
SPECTROGRAM_FRAMES = 300  # of the spectrograms, about
REFERENCE_CLIPS = 8  # with the lowest scores, which others are compared with
PEAK = 0.7  # of the loudest clip that is played, full scale 1
RANGE = 70  # dB that the spectrogram shows
ORDER_STEPS = (1, 2, 5)  # of the ticks of an axis in orders, times powers of 10
LOWEST_ORDER = 0.1  # on such an axis
ORDER_ROOM = 9  # mel bands between two such ticks, at least
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


def show_clips(
    scorer: BaseScorer,
    clips: Sequence[ClipScore],
    chosen: Sequence[ClipScore],
    seconds: float,
    normal_clips: NormalClips | None = None,
) -> dict[str, Shown]:
    """Make pictures and sounds of chosen clips of one machine ID, by file; clips whose file is missing are skipped.

    Args:
        scorer: of the run.
        clips: all test clips of this machine ID, highest score first.
        chosen: clips to show.
        seconds: length to play, at most.
        normal_clips: those that the run learned from, to show the nearest one beside each clip; None: show none.
    """
    waves = {clip.file: wave for clip in chosen if (wave := _read(scorer, clip.file)) is not None}
    usual = [wave for clip in clips[: -REFERENCE_CLIPS - 1 : -1] if (wave := _read(scorer, clip.file)) is not None]
    if not waves or not usual:
        return {}
    assert scorer.thresholds is not None
    number = scorer.thresholds.number(f"{chosen[0].machine}/{chosen[0].id}")
    neighbours = {file: found for file in waves if normal_clips and (found := normal_clips.nearest(file))}
    normal = {
        path: wave
        for path in dict.fromkeys(found.path for found in neighbours.values())
        if (wave := _read(scorer, path)) is not None
    }
    rows: list[list[Bar]] = [[] for _ in waves]
    if names := scorer.member_names:
        scores = scorer.member_waves(np.stack(list(waves.values())), np.full(len(waves), number))
        rows = member_bars(names, scores, scorer.member_weights)
    drawing = _Drawing(scorer.sample_rate, gain_of([*waves.values(), *normal.values()]), seconds)
    speeds = {clip.file: clip.rpm for clip in chosen}
    shown = {}
    for (file, wave), bars in zip(waves.items(), rows, strict=True):
        location = localize(scorer, wave, number, np.stack(usual))
        found = neighbours.get(file)
        other = normal.get(found.path) if found else None
        top = max(loudest(each, scorer.sample_rate) for each in (wave, other) if each is not None)
        nearest = drawing.nearest(found, other, top) if found and other is not None else None
        shown[file] = drawing.shown(Path(file).name, wave, location, top, speeds[file], bars, nearest)
    return shown


def gain_of(waves: Sequence[np.ndarray]) -> float:
    """Return one gain for clips int16 [T] that are played side by side, so that their levels can be compared."""
    return PEAK * FULL_SCALE / max(1, *(int(np.abs(wave.astype(int)).max()) for wave in waves))


def _read(scorer: BaseScorer, file: str | Path) -> np.ndarray | None:
    try:
        return scorer.read(Path(file)).wave
    except InputError as reason:
        log.warning("clip is missing from the report: %s", reason)
        return None


class _Drawing(NamedTuple):
    """Properties that the clips of a machine ID share: rate in Hz, gain, and seconds to play."""

    rate: int
    gain: float
    seconds: float

    def shown(
        self,
        name: str,
        wave: np.ndarray,
        location: Location | None,
        top: float,
        rpm: float | None,
        members: list[Bar],
        nearest: NearestShown | None,
    ) -> Shown:
        length = len(wave) / self.rate
        words = location_words(location, length, rpm) if location else "not localized: that would have taken too long"
        if location and location.amount.max() <= 0:  # it would be blank
            location = None
        alt = f"Spectrogram of {name}, {length:.1f} s: {words}."
        picture = spectrogram(wave, self.rate, location, alt, top=top, rpm=rpm)
        return Shown(picture, self._sound(wave), _joined(words, speed_words(rpm)), members, nearest)

    def nearest(self, found: Neighbour, wave: np.ndarray, top: float) -> NearestShown:
        name = found.path.name
        picture = spectrogram(wave, self.rate, alt=f"Spectrogram of the normal clip {name}.", top=top, rpm=found.rpm)
        return NearestShown(name, picture, self._sound(wave), _joined(found.words, speed_words(found.rpm)))

    def _sound(self, wave: np.ndarray) -> str:
        return sound(wave[: round(self.seconds * self.rate)] / FULL_SCALE * self.gain, self.rate)


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


def loudest(wave: np.ndarray, rate: int) -> float:
    """Return the highest level of the log-mel spectrogram of a waveform int16 [T], the `top` of `spectrogram`."""
    return float(_levels(wave, rate)[0].max())


def _levels(wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the log-mel levels [MEL_BANDS, N] of a waveform int16 [T], and the centres of the bands in Hz."""
    n_fft = min(1024, 2 * (len(wave) // 2 - 1))
    features = LogMel(
        sample_rate=rate, n_fft=n_fft, hop=max(1, len(wave) // SPECTROGRAM_FRAMES), n_mels=MEL_BANDS, eps=1e-10
    )
    level = features(torch.from_numpy(wave[None].astype(np.float32) / FULL_SCALE))[0, 0].numpy()
    return level, (features.edges[:-1] + features.edges[1:]) / 2


def spectrogram(
    wave: np.ndarray,
    rate: int,
    location: Location | None = None,
    alt: str = "Spectrogram.",
    *,
    top: float | None = None,
    rpm: float | None = None,
) -> Image:
    """Draw the log-mel spectrogram of a waveform int16 [T], and the location of the anomaly, if given, below it.

    Args:
        top: level in dB of the brightest colour, for pictures that are compared; None: that of the loudest part.
        rpm: speed of the shaft in revolutions per minute: a second axis has the orders; None: unknown.
    """
    level, centres = _levels(wave, rate)
    top = level.max() if top is None else top
    height = 3.4 if location else 1.9  # inches; a fixed layout, since an automatic one would double the time
    figure = Figure(figsize=(4.8, height), dpi=90)
    right = 0.88 if rpm else 0.96
    figure.subplots_adjust(left=0.1, right=right, bottom=0.42 / height, top=1 - 0.25 / height, hspace=0.42)
    panels = [figure.add_subplot(2 if location else 1, 1, 1)]
    extent = (0, len(wave) / rate, 0, MEL_BANDS)
    look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent, "interpolation": "nearest"}
    panels[0].imshow(level, cmap="magma", vmin=top - RANGE, vmax=top, **look)
    panels[0].set_title("spectrogram", fontsize=9, loc="left")
    if location:
        panels.append(figure.add_subplot(2, 1, 2))
        rows = np.clip(np.searchsorted(location.hertz, centres) - 1, 0, len(location.amount) - 1)
        amount = location.amount[rows]
        panels[1].imshow(amount, cmap="gray_r", vmin=0, vmax=max(np.quantile(amount, 0.998), 1e-12), **look)
        panels[1].set_title(f"location: {location.method}", fontsize=9, loc="left")
    ticks = [hertz for hertz in (250, 500, 1000, 2000, 4000, 8000, 16000) if hertz <= rate / 2]
    for panel in panels:
        panel.set_yticks(
            np.interp(ticks, centres, np.arange(MEL_BANDS) + 0.5), [f"{hertz / 1000:g}" for hertz in ticks]
        )
        panel.tick_params(labelsize=8)
        panel.set_ylabel("kHz", fontsize=8)
        if rpm:
            _add_orders(panel, order_ticks(rpm, centres))
    panels[-1].set_xlabel("s", fontsize=8)
    return as_image(figure, alt, "webp", "image/webp", pil_kwargs={"quality": 80})


def order_ticks(rpm: float, centres: np.ndarray) -> dict[float, float]:
    """Choose round orders of a shaft for the axis of a spectrogram, with their places in bands.

    Args:
        rpm: speed of the shaft in revolutions per minute; order 1 is rpm / 60 Hz.
        centres: of the bands in Hz, rising.

    Returns:
        order -> place, 0.5 is the centre of the first band; at least ORDER_ROOM bands apart.
    """
    lowest, highest = max(centres[0] / rpm * 60, LOWEST_ORDER), centres[-1] / rpm * 60
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    orders = [step * 10.0**power for power in powers for step in ORDER_STEPS]
    ticks: dict[float, float] = {}
    for order in orders:
        if lowest <= order <= highest:
            place = float(np.interp(order * rpm / 60, centres, np.arange(len(centres)) + 0.5))
            if not ticks or place - list(ticks.values())[-1] >= ORDER_ROOM:
                ticks[order] = place
    return ticks


def _add_orders(panel: Axes, ticks: dict[float, float]) -> None:
    axis = panel.secondary_yaxis("right")
    axis.set_yticks(list(ticks.values()), [f"{order:g}" for order in ticks])
    axis.tick_params(labelsize=8)
    axis.set_ylabel("order", fontsize=8)
