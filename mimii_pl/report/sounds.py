"""Clips to be played on a page."""

import io
from collections.abc import Sequence

import numpy as np
import soundfile

from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.report.figures import data_uri

PEAK = 0.7  # of the loudest clip that is played, full scale 1
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def gain_of(waves: Sequence[np.ndarray]) -> float:
    """Return one gain for clips int16 [T] that are played side by side, so that their levels can be compared."""
    return PEAK * FULL_SCALE / max([1, *(int(np.abs(wave.astype(int)).max()) for wave in waves)])


def sound(wave: np.ndarray, gain: float, rate: int) -> str:
    """Return a waveform int16 [T], amplified, as a data URI: MP3 if the rate and libsndfile support it, else FLAC."""
    small = rate in MP3_RATES and "MP3" in soundfile.available_formats()
    kind, mime = ("MP3", "audio/mpeg") if small else ("FLAC", "audio/flac")
    content = io.BytesIO()
    soundfile.write(content, wave / FULL_SCALE * gain, rate, format=kind)
    return data_uri(content.getvalue(), mime)
