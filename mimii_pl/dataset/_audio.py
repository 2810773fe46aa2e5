"""Decode one file to int16 samples of a given rate, channel and length, and name every fault."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SUFFIXES = {".wav", ".flac"}
FULL_SCALE = 32768.0  # int16 value of amplitude 1
MAX_KERNEL = 2**30  # values of a resampling filter, 4 GiB; only absurd rates, or rates with no common step, need more


class UnreadableClip(Exception):  # noqa: N818  (a state of a clip, always caught)
    """A recording that cannot be used, with the reason; always caught, as one bad clip must not end the run."""


def read(path: Path, *, sample_rate: int, channel: int | str) -> np.ndarray:
    """Decode a recording to int16 [T] at `sample_rate`.

    PCM16 passes through unchanged; 24-bit and float samples keep their scale (1.0 is full scale) and are clipped
    beyond it.

    Args:
        channel: index from 0, or `mean` of all channels.

    Raises:
        UnreadableClip: not audio, truncated, empty, not finite, digitally silent, without that channel, or of a rate
            that cannot be resampled.
    """
    import soundfile

    try:
        with soundfile.SoundFile(_name(path)) as file:
            expected, rate, subtype = file.frames, file.samplerate, file.subtype
            samples = file.read(dtype="int16" if subtype == "PCM_16" else "float32", always_2d=True)  # [T, channels]
    except (OSError, RuntimeError) as error:  # soundfile raises RuntimeErrors
        if not path.exists():
            raise UnreadableClip("there is no such file") from None
        raise UnreadableClip(f"not readable as audio: {getattr(error, 'error_string', error)}") from None
    if not len(samples):
        raise UnreadableClip("empty: it contains no samples")
    if len(samples) < expected or _data_missing(path):
        raise UnreadableClip(f"truncated: {len(samples)} samples, fewer than its header declares")
    wave = _one_channel(samples, channel)
    if wave.dtype != np.int16 and not np.isfinite(wave).all():
        raise UnreadableClip("contains NaN or infinite samples")
    if rate * sample_rate // math.gcd(rate, sample_rate) ** 2 > MAX_KERNEL:
        raise UnreadableClip(f"cannot be resampled: its header says {rate} Hz")
    clip = to_int16(resample(wave, rate, sample_rate))
    if wave.min() == wave.max() or clip.min() == clip.max():  # resampling rings at the ends of a constant
        raise UnreadableClip("digital silence: every sample is equal (is the microphone connected?)")
    return clip


def resample(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Resample with a band-limited filter; int16 becomes float32 in full scale 1. Equal rates change nothing."""
    if rate == sample_rate:
        return wave
    import torch
    import torchaudio.functional as AF

    scaled = wave / FULL_SCALE if wave.dtype == np.int16 else wave
    return AF.resample(torch.from_numpy(np.ascontiguousarray(scaled, np.float32)), rate, sample_rate).numpy()


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
    """Read the length in seconds from the header; None if it cannot be read."""
    import soundfile

    try:
        return round(soundfile.info(_name(path)).duration, 6)
    except (OSError, RuntimeError):
        return None


def _name(path: Path) -> str | bytes:
    """Return a path for soundfile, which encodes text as UTF-8, whereas POSIX file names are arbitrary bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def _one_channel(samples: np.ndarray, channel: int | str) -> np.ndarray:
    """Select or average channels, [T, channels] -> [T]; the mean of int16 channels is rounded back to int16."""
    if channel == "mean":
        mean = samples.mean(axis=1, dtype=np.float32)
        return np.rint(mean).astype(np.int16) if samples.dtype == np.int16 else mean
    if not 0 <= int(channel) < samples.shape[1]:
        raise UnreadableClip(
            f"has no channel {channel}: it has {samples.shape[1]}, counted from 0 (or dataset.channel=mean)"
        )
    return np.ascontiguousarray(samples[:, int(channel)])


def _data_missing(path: Path) -> bool:
    """Return True for a wav that ends before its data chunk does; libsndfile reads such a file without an error."""
    end = path.stat().st_size
    with open(path, "rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return False
        while len(head := file.read(8)) == 8:
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"data":
                unknown = size >= 0x7FFFFFFF  # the recorder could not seek back to write the size
                return not unknown and file.tell() + size > end
            file.seek(size + size % 2, 1)
    return False
