"""Clips on the page of a run: spectrogram, location of the anomaly, sound."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from matplotlib.figure import Figure

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.features.log_mel import LogMel
from mimii_pl.report.figures import Image, as_image, data_uri
from mimii_pl.report.localize import Location, localize
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.scores import ClipScore

log = logging.getLogger(__name__)
MEL_BANDS = 96  # of the spectrograms
SPECTROGRAM_FRAMES = 300  # of the spectrograms, about
REFERENCE_CLIPS = 8  # with the lowest scores, which others are compared with
PEAK = 0.7  # of the loudest clip that is played, full scale 1
RANGE = 70  # dB that the spectrogram shows
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class Shown(NamedTuple):
    """A clip on the page: pictures, a data URI of its sound, and the location of the anomaly in words."""

    picture: Image
    sound: str
    words: str


def show_clips(
    scorer: BaseScorer, clips: Sequence[ClipScore], chosen: Sequence[ClipScore], seconds: float
) -> dict[str, Shown]:
    """Make pictures and sounds of chosen clips of one machine ID, by file; clips whose file is missing are skipped.

    Args:
        scorer: of the run.
        clips: all test clips of this machine ID, highest score first.
        chosen: clips to show.
        seconds: length to play, at most.
    """
    waves = {clip.file: wave for clip in chosen if (wave := _read(scorer, clip)) is not None}
    usual = [wave for clip in clips[: -REFERENCE_CLIPS - 1 : -1] if (wave := _read(scorer, clip)) is not None]
    if not waves or not usual:
        return {}
    assert scorer.thresholds is not None
    number = scorer.thresholds.number(f"{chosen[0].machine}/{chosen[0].id}")
    gain = gain_of(list(waves.values()))
    samples = round(seconds * scorer.sample_rate)
    shown = {}
    for file, wave in waves.items():
        location = localize(scorer, wave, number, np.stack(usual))
        shown[file] = _shown(wave, location, scorer.sample_rate, gain, samples, Path(file).name)
    return shown


def gain_of(waves: Sequence[np.ndarray]) -> float:
    """Return one gain for clips int16 [T] that are played side by side, so that their levels can be compared."""
    return PEAK * FULL_SCALE / max(1, *(int(np.abs(wave.astype(int)).max()) for wave in waves))


def _read(scorer: BaseScorer, clip: ClipScore) -> np.ndarray | None:
    try:
        return scorer.read(Path(clip.file)).wave
    except InputError as reason:
        log.warning("clip is missing from the report: %s", reason)
        return None


def _shown(wave: np.ndarray, location: Location | None, rate: int, gain: float, samples: int, name: str) -> Shown:
    length = len(wave) / rate
    words = _words(location, length) if location else "not localized: that would have taken too long"
    alt = f"Spectrogram of {name}, {length:.1f} s: {words}."
    return Shown(spectrogram(wave, rate, location, alt), sound(wave[:samples] / FULL_SCALE * gain, rate), words)


def _words(location: Location, length: float) -> str:
    """Describe the frequency that adds most to the score, and the time if one stands out."""
    rows, columns = location.amount.mean(axis=1), location.amount.mean(axis=0)
    words = []
    if len(rows) > 1:
        hertz = location.hertz[rows.argmax() : rows.argmax() + 2].mean()
        words.append(f"near {hertz:.2g} Hz" if hertz < 100 else f"near {hertz / 1000:.2g} kHz")
    usual, spread = np.median(columns), np.subtract(*np.quantile(columns, (0.75, 0.25)))
    if columns.max() > usual + 4 * spread:
        words.append(f"at {(columns.argmax() + 0.5) / len(columns) * length:.1f} s")
    return f"most striking {', '.join(words)}" if words else "nothing stands out"


def sound(wave: np.ndarray, rate: int) -> str:
    """Return a waveform, full scale 1, as a data URI: MP3 if the rate and libsndfile support it, else FLAC."""
    small = rate in MP3_RATES and "MP3" in soundfile.available_formats()
    kind, mime = ("MP3", "audio/mpeg") if small else ("FLAC", "audio/flac")
    content = io.BytesIO()
    soundfile.write(content, wave, rate, format=kind)
    return data_uri(content.getvalue(), mime)


def spectrogram(wave: np.ndarray, rate: int, location: Location | None = None, alt: str = "Spectrogram.") -> Image:
    """Draw the log-mel spectrogram of a waveform int16 [T], and the location of the anomaly, if given, below it."""
    n_fft = min(1024, 2 * (len(wave) // 2 - 1))
    features = LogMel(
        sample_rate=rate, n_fft=n_fft, hop=max(1, len(wave) // SPECTROGRAM_FRAMES), n_mels=MEL_BANDS, eps=1e-10
    )
    level = features(torch.from_numpy(wave[None].astype(np.float32) / FULL_SCALE))[0, 0].numpy()  # [BANDS, N]
    height = 3.4 if location else 1.9  # inches; a fixed layout, since an automatic one would double the time
    figure = Figure(figsize=(4.8, height), dpi=90)
    figure.subplots_adjust(left=0.1, right=0.96, bottom=0.42 / height, top=1 - 0.25 / height, hspace=0.42)
    panels = [figure.add_subplot(2 if location else 1, 1, 1)]
    extent = (0, len(wave) / rate, 0, MEL_BANDS)
    look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": extent, "interpolation": "nearest"}
    panels[0].imshow(level, cmap="magma", vmin=level.max() - RANGE, **look)
    panels[0].set_title("spectrogram", fontsize=9, loc="left")
    centres = (features.edges[:-1] + features.edges[1:]) / 2
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
    panels[-1].set_xlabel("s", fontsize=8)
    return as_image(figure, alt, "webp", "image/webp", pil_kwargs={"quality": 80})
