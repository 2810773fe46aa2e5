"""Decode one file to int16 samples of a given rate, channel and length, and name every fault."""

import errno
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mimii_pl.core.errors import first_line
from mimii_pl.core.foreign import open_regular, printable
from mimii_pl.dataset._containers import Overlay, SoundData, find_sound

if TYPE_CHECKING:
    import soundfile
    import torch
    from torch import Tensor

SUFFIXES = (".wav", ".flac", ".wave", ".w64", ".rf64", ".aiff", ".aif", ".aifc")
FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC"}  # whose headers tell a truncated file from a whole one
RATES = range(1_000, 400_001)  # Hz; beyond, a header decides how much memory and time its file takes
FULL_SCALE = 32768.0  # int16 value of amplitude 1
FILTER_WIDTH = 6  # zero crossings of the resampling filter on either side
ROLLOFF = 0.99  # its cut-off frequency as a share of the lower Nyquist frequency
MIN_RESAMPLED = 1 << 15  # frames: torch convolves fewer than 20,480 by another algorithm, which rounds differently
MAX_KERNEL = 1 << 20  # values of a resampling filter, 4 MiB
BLOCK = 1 << 20  # values decoded at a time, of all channels
UNKNOWN = 1 << 62  # frames: libsndfile gives such a number for a FLAC that does not say its length
log = logging.getLogger(__name__)


class UnreadableClip(Exception):  # noqa: N818  (a state of a clip, always caught)
    """A recording that cannot be used, with the reason; always caught, as one bad clip must not end the run."""


def read(path: Path, *, sample_rate: int, channel: int | str, samples: int | None = None) -> np.ndarray:
    """Decode the beginning of a recording to int16 [T] at `sample_rate`, T <= samples.

    PCM16 passes through unchanged; 24-bit and float samples keep their scale (1.0 is full scale) and are clipped
    beyond it. Memory and time are bounded by `samples`, whatever the header claims. Silence and samples that are not
    finite are looked for in what is decoded only; truncation is noticed anywhere, in a FLAC at its end.

    Args:
        channel: index from 0, or `mean` of all channels.
        samples: number of samples that are needed; None: all.

    Raises:
        UnreadableClip: not a regular file, not wav (RIFF, RF64), W64, AIFF or FLAC, truncated, empty, not finite,
            digitally silent, without that channel, or of a rate outside 1 to 400 kHz.
    """
    with _opened(path) as file:
        rate = file.samplerate
        ratio = ratio_of(rate, sample_rate)
        frames = None if samples is None else math.ceil(samples * ratio)
        wave = _decode(file, channel, frames if ratio == 1 or frames is None else _with_margin(frames, ratio))
    if wave.dtype != np.int16 and not np.isfinite(wave).all():
        raise UnreadableClip("contains NaN or infinite samples")
    if ratio * sample_rate != rate:
        log.warning("%s: its %d Hz are taken as %.3f Hz", printable(path), rate, ratio * sample_rate)
    clip = to_int16(resample(wave, rate, sample_rate))[:samples]
    used = wave[:frames]
    if used.min() == used.max() or clip.min() == clip.max():  # resampling rings at the ends of a constant
        raise UnreadableClip("digital silence: every sample is equal (is the microphone connected?)")
    return clip


@lru_cache
def ratio_of(rate: int, sample_rate: int) -> Fraction:
    """Return rate / sample_rate, or the nearest fraction whose resampling filter has at most `MAX_KERNEL` values.

    44,100 to 16,000 Hz is 441 / 160, exact like every usual pair of rates. Two rates with no large common divisor, such
    as 97,656 and 16,000 Hz, are approximated to 0.05 %, a cent of pitch: 15,999 and 16,000 Hz are taken as equal.

    >>> ratio_of(44100, 16000), ratio_of(15999, 16000)
    (Fraction(441, 160), Fraction(1, 1))
    """
    return Fraction(rate, sample_rate).limit_denominator(max(1, math.isqrt(MAX_KERNEL * sample_rate // rate)))


def resample(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Resample with a band-limited filter by `ratio_of` the rates; int16 becomes float32 in full scale 1.

    A ratio of 1 changes nothing.
    """
    ratio = ratio_of(rate, sample_rate)
    if ratio == 1:
        return wave
    import torch
    import torchaudio.functional as AF

    scaled = wave / FULL_SCALE if wave.dtype == np.int16 else wave
    tensor = torch.from_numpy(np.ascontiguousarray(scaled, np.float32))
    options = {"lowpass_filter_width": FILTER_WIDTH, "rolloff": ROLLOFF}
    return AF.resample(tensor, ratio.numerator, ratio.denominator, **options).numpy()


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Convert float samples in full scale 1 to int16, rounded and clipped; int16 is returned unchanged."""
    if wave.dtype == np.int16:
        return wave
    return np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def fit_length(wave: np.ndarray, samples: int) -> np.ndarray:
    """Cut a longer clip [T] at its end, or repeat a shorter one from its start.

    Example:
        >>> import numpy as np
        >>> fit_length(np.array([1, 2, 3]), samples=5).tolist()
        [1, 2, 3, 1, 2]
    """
    return wave[:samples] if len(wave) >= samples else np.resize(wave, samples)


def to_float(waves: "np.ndarray | Tensor", device: "torch.device | str") -> "Tensor":
    """Move int16 samples to a device and convert them there to float32 in full scale 1."""
    import torch

    if not isinstance(waves, torch.Tensor):
        waves = torch.from_numpy(np.require(waves, requirements=["C", "W"]))  # torch shares writable memory only
    return waves.to(device).float() / FULL_SCALE


def duration(path: Path) -> float | None:
    """Return the length in seconds, from the header if it has it; None if the file cannot be read."""
    try:
        with _opened(path) as file:
            frames = file.frames if file.frames < UNKNOWN else sum(map(len, _blocks(file, file.frames)))
            return round(frames / file.samplerate, 6)
    except UnreadableClip:
        return None


@contextmanager
def _opened(path: Path) -> "Iterator[soundfile.SoundFile]":
    """Open a recording that has sound, all that its header declares; every error becomes an UnreadableClip."""
    import soundfile

    try:
        with open_regular(path) as raw:
            sound = find_sound(raw)
            source: BinaryIO | Overlay | int = raw
            raw.seek(0)
            if sound and sound.declared is None:
                source = Overlay(raw, sound.field, sound.true_size)
            elif os.name == "posix":  # by its descriptor, which is faster; libsndfile begins where that stands
                source = raw.fileno()
                os.lseek(source, 0, os.SEEK_SET)
            with soundfile.SoundFile(source, closefd=False) as file:
                file.seekable = lambda: False  # soundfile seeks after each read, which fails at the end of some FLACs
                _check_header(file, sound)
                yield file
    except UnreadableClip:
        raise
    except FileNotFoundError:
        raise UnreadableClip("there is no such file") from None
    except MemoryError:
        raise  # of this process, not of the file
    except Exception as error:  # decoders raise of many kinds
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or first_line(error)
        raise UnreadableClip(f"not readable as audio: {reason}") from None


def _check_header(file: "soundfile.SoundFile", sound: SoundData | None) -> None:
    if file.format not in FORMATS:
        raise UnreadableClip(f"of format {file.format}, which is not read: convert it to wav or FLAC")
    if file.samplerate not in RATES:
        raise UnreadableClip(f"cannot be resampled: its header says {file.samplerate} Hz, not 1 to 400 kHz")
    if not file.frames:
        raise UnreadableClip("empty: it contains no samples")
    if file.format != "FLAC" and sound is None:
        raise UnreadableClip("damaged: the chunks of its header do not lead to the sound")
    if sound and sound.declared is not None and sound.declared > sound.present:
        raise _truncated(file.frames)


def _decode(file: "soundfile.SoundFile", channel: int | str, frames: int | None) -> np.ndarray:
    """Decode the first frames (None: all) of a channel, [T], int16 or float32."""
    if channel != "mean" and not 0 <= int(channel) < file.channels:
        raise UnreadableClip(
            f"has no channel {channel}: it has {file.channels}, counted from 0 (or dataset.channel=mean)"
        )
    wanted = file.frames if frames is None else min(frames, file.frames)
    parts = [_one_channel(block, channel) for block in _blocks(file, wanted)]
    decoded = sum(map(len, parts))
    if file.frames < UNKNOWN and decoded < wanted:
        raise _truncated(decoded)
    if not decoded:
        raise UnreadableClip("empty: it contains no samples")
    if file.format == "FLAC" and wanted < file.frames < UNKNOWN:
        _check_last_frame(file)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _check_last_frame(file: "soundfile.SoundFile") -> None:
    """Decode the last frame: it alone tells whether a compressed file is whole."""
    try:
        file.seek(file.frames - 1)
        found = len(file.read(1))
    except RuntimeError:
        found = 0
    if not found:
        raise UnreadableClip("truncated: the last sample that its header declares cannot be decoded")


def _blocks(file: "soundfile.SoundFile", frames: int) -> Iterator[np.ndarray]:
    """Decode frames block by block, [N, channels]: a header may claim any number of frames and channels."""
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    while frames > 0 and len(block := file.read(min(frames, BLOCK // file.channels), dtype=dtype, always_2d=True)):
        yield block
        frames -= len(block)


def _truncated(frames: int) -> UnreadableClip:
    return UnreadableClip(f"truncated: {frames} samples, fewer than its header declares")


def _with_margin(frames: int, ratio: Fraction) -> int:
    """Add the frames that follow to some that are wanted, so that resampling gives these as if all were decoded."""
    width = math.ceil(FILTER_WIDTH * ratio.numerator / (ROLLOFF * min(ratio.numerator, ratio.denominator)))
    return max(MIN_RESAMPLED, frames + 2 * (width + ratio.numerator))


def _one_channel(samples: np.ndarray, channel: int | str) -> np.ndarray:
    """Select or average channels, [T, channels] -> [T]; the mean of int16 channels is rounded back to int16."""
    if channel == "mean":
        mean = samples.mean(axis=1, dtype=np.float32)
        return np.rint(mean).astype(np.int16) if samples.dtype == np.int16 else mean
    return np.ascontiguousarray(samples[:, int(channel)])
