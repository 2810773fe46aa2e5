"""One file to int16 samples at one rate, one channel, one length; every fault named."""

import math
import os
from pathlib import Path

import numpy as np

SUFFIXES = {".wav", ".flac"}
FULL_SCALE = 32768.0
MAX_KERNEL = 2**30  # values of a resampling filter: 4 GiB; only rates without a common step, or absurd ones, need more


class UnreadableClip(Exception):  # noqa: N818  (it is what happened to a clip, and always caught)
    """This recording cannot be used; the message says why. One bad clip must not cost the run."""


def read(path: Path, *, sample_rate: int, channel: int | str) -> np.ndarray:
    """Decode a recording to int16 [T] at `sample_rate`.

    PCM16 passes through unchanged; 24-bit and float samples keep their scale (1.0 is full scale) and are clipped
    where they exceed it.

    Args:
        channel: index from 0, or `mean` of all channels.

    Raises:
        UnreadableClip: not audio, truncated, empty, not finite, digital silence, without that channel, or of a rate
            that cannot be resampled.
    """
    import soundfile

    try:
        with soundfile.SoundFile(_name(path)) as file:
            expected, rate, subtype = file.frames, file.samplerate, file.subtype
            samples = file.read(dtype="int16" if subtype == "PCM_16" else "float32", always_2d=True)  # [T, channels]
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        if not path.exists():
            raise UnreadableClip("there is no such file") from None
        raise UnreadableClip(f"not readable as audio: {getattr(error, 'error_string', error)}") from None
    if not len(samples):
        raise UnreadableClip("empty: it holds no samples")
    if len(samples) < expected or _data_missing(path):
        raise UnreadableClip(f"truncated: {len(samples)} samples are left of what its header promises")
    wave = _one_channel(samples, channel)
    if wave.dtype != np.int16 and not np.isfinite(wave).all():
        raise UnreadableClip("holds NaN or infinite samples")
    if rate * sample_rate // math.gcd(rate, sample_rate) ** 2 > MAX_KERNEL:
        raise UnreadableClip(f"cannot be resampled: its header says {rate} Hz")
    clip = to_int16(resample(wave, rate, sample_rate))
    if wave.min() == wave.max() or clip.min() == clip.max():  # resampling rings at the ends of a constant
        raise UnreadableClip("digital silence: every sample is equal (is the microphone connected?)")
    return clip


def resample(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Band-limited change of the sampling frequency by torchaudio; int16 comes back as float in its own scale."""
    if rate == sample_rate:
        return wave
    import torch
    import torchaudio.functional as AF

    scaled = wave / FULL_SCALE if wave.dtype == np.int16 else wave
    return AF.resample(torch.from_numpy(np.ascontiguousarray(scaled, np.float32)), rate, sample_rate).numpy()


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Float samples in full scale 1 to int16, rounded and clipped; int16 unchanged."""
    if wave.dtype == np.int16:
        return wave
    return np.clip(np.rint(wave * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def fit_length(wave: np.ndarray, samples: int) -> np.ndarray:
    """Bring [T] to a length: a longer clip is cut at its end, a shorter one is repeated from its start."""
    return wave[:samples] if len(wave) >= samples else np.resize(wave, samples)


def duration(path: Path) -> float | None:
    """Length in seconds from the header alone; None where there is none to read."""
    import soundfile

    try:
        return round(soundfile.info(_name(path)).duration, 6)
    except (OSError, RuntimeError):
        return None


def _name(path: Path) -> str | bytes:
    """A path for soundfile, which takes text for UTF-8: names of files on POSIX are any bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def _one_channel(samples: np.ndarray, channel: int | str) -> np.ndarray:
    """[T, channels] -> [T]; the mean of int16 channels is rounded back to int16."""
    if channel == "mean":
        mean = samples.mean(axis=1, dtype=np.float32)
        return np.rint(mean).astype(np.int16) if samples.dtype == np.int16 else mean
    if not 0 <= int(channel) < samples.shape[1]:
        raise UnreadableClip(f"has no channel {channel}: it has {samples.shape[1]}, counted from 0 (or channel=mean)")
    return np.ascontiguousarray(samples[:, int(channel)])


def _data_missing(path: Path) -> bool:
    """True for a wav whose samples end before its data chunk does; libsndfile reads such a file without a word."""
    end = path.stat().st_size
    with open(path, "rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return False
        while len(head := file.read(8)) == 8:
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"data":
                left_open = size >= 0x7FFFFFFF  # a recorder that could not seek back to fill it in
                return not left_open and file.tell() + size > end
            file.seek(size + size % 2, 1)
    return False
