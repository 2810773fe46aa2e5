"""Decode one file to int16 samples of a given rate, channel and length, and name every fault."""

import errno
import logging
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from mimii_pl.core.errors import first_line
from mimii_pl.core.foreign import open_regular, printable
from mimii_pl.dataset._channels import split_channel
from mimii_pl.dataset._containers import Overlay, SoundData, find_sound, mp3_tells_length

if TYPE_CHECKING:
    import soundfile
    import torch
    from torch import Tensor

SUFFIXES = (".wav", ".flac", ".wave", ".w64", ".rf64", ".aiff", ".aif", ".aifc", ".ogg", ".oga", ".opus", ".mp3")
UNREAD = (  # suffixes of recordings of kinds that are not read: each is skipped and named
    *(".m4a", ".aac", ".wma", ".amr", ".ac3", ".ape", ".wv", ".mka", ".caf", ".au", ".snd", ".voc", ".3gp"),
)
CHUNKED = {"WAV", "WAVEX", "RF64", "W64", "AIFF"}  # whose headers tell a truncated file from a whole one
FORMATS = {*CHUNKED, "FLAC", "OGG", "MP3"}
RATES = range(1_000, 400_001)  # Hz; beyond, a header decides how much memory and time its file takes
FULL_SCALE = 32768.0  # int16 value of amplitude 1
FLOATING = {"FLOAT", "DOUBLE"}  # subtypes whose numbers may be in any unit
RAW_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # subtype -> bits of a sample
OVERS = 0.001  # share of samples beyond full scale that are clipped without a word
HIGHEST_OVER = 2.0  # times full scale: an impact of a bearing is higher, and what is to be heard
FILTER_WIDTH = 6  # zero crossings of the resampling filter on either side
ROLLOFF = 0.99  # its cut-off frequency as a share of the lower Nyquist frequency
MIN_RESAMPLED = 1 << 15  # frames: torch convolves fewer than 20,480 by another algorithm, which rounds differently
MAX_KERNEL = 1 << 20  # values of a resampling filter, 4 MiB
BLOCK = 1 << 20  # values decoded at a time, of all channels
UNKNOWN = 1 << 62  # frames: libsndfile gives such a number for a FLAC that does not say its length
SHORTEST_CUT = 0.01  # s; lengths that differ by less count as equal
log = logging.getLogger(__name__)


class UnreadableClip(Exception):  # noqa: N818  (a state of a clip, always caught)
    """A recording that cannot be used, with the reason; always caught, as one bad clip must not end the run."""


class OutOfScale(UnreadableClip):
    """Floating-point samples that 16 bits cannot hold at this full scale.

    Attributes:
        fault: the reason, without the way out.
        peak: largest magnitude of a sample.
    """

    def __init__(self, reason: str, peak: float, full_scale: float) -> None:
        self.fault = f"{reason} (peak {peak:.3g}, dataset.full_scale={full_scale:.8g})"
        self.peak = peak
        super().__init__(f"{self.fault}: train with {full_scale_for(peak)}")


class RawFormat(NamedTuple):
    """Format of a recording as its header tells it.

    Attributes:
        bits: of an integer sample; 0 for floating point and for codes that are no plain numbers.
    """

    rate: int
    channels: int
    bits: int
    subtype: str


class Excerpt(NamedTuple):
    """The beginning of a recording: its samples, int16 [T], and the length of the whole recording in s."""

    wave: np.ndarray
    recorded: float


def read(
    path: Path, *, sample_rate: int, channel: int | str, samples: int | None = None, full_scale: float = 1.0
) -> Excerpt:
    """Decode the beginning of a recording to int16 [T] at `sample_rate`, T <= samples.

    PCM16 passes through unchanged; other integers keep their scale. Memory and time are bounded by `samples`, whatever
    the header claims; a FLAC that does not say its length is decoded to its end. Silence, samples that are not finite
    or beyond full scale are looked for in what is needed only; truncation is noticed anywhere, in a FLAC at its end.

    Args:
        path: of a file, or of one of its channels (see `split_channel`), which then counts.
        channel: index from 0, or `mean` of all channels.
        samples: number of samples that are needed; None: all.
        full_scale: number in floating-point recordings that counts as full scale.

    Raises:
        UnreadableClip: not a regular file, not wav (RIFF, RF64), W64, AIFF, FLAC, ogg or mp3, truncated, empty, not
            finite, digitally silent, without that channel, or of a rate outside 1 to 400 kHz.
        OutOfScale: as for `to_clip`.
    """
    file_path, channel = split_channel(path, channel)
    with opened(file_path) as file:
        rate, floating = file.samplerate, file.subtype in FLOATING
        ratio = ratio_of(rate, sample_rate)
        frames = None if samples is None else math.ceil(samples * ratio)
        wave = _decode(file, channel, frames if ratio == 1 or frames is None else with_margin(frames, ratio))
        recorded = float(_count(file, len(wave)) / ratio / sample_rate)
    check_sound(wave, frames)
    warn_of_rate(path, rate, sample_rate)
    return Excerpt(to_clip(wave, rate, sample_rate, samples, full_scale if floating else None), recorded)


def check_sound(wave: np.ndarray, frames: int | None) -> None:
    """Raise UnreadableClip for samples [N] that are not finite, or whose first frames (None: all) are silent."""
    if wave.dtype != np.int16 and not np.isfinite(wave).all():
        raise UnreadableClip("contains NaN or infinite samples")
    used = wave[:frames]
    if used.min() == used.max():
        raise UnreadableClip("digital silence: every sample is equal (is the microphone connected?)")


def warn_of_rate(path: Path, rate: int, sample_rate: int) -> None:
    """Say where `ratio_of` the rates is not exact."""
    if (taken := ratio_of(rate, sample_rate) * sample_rate) != rate:
        log.warning("%s: its %d Hz are taken as %.3f Hz", printable(path), rate, taken)


def to_clip(
    wave: np.ndarray, rate: int, sample_rate: int, samples: int | None = None, full_scale: float | None = 1.0
) -> np.ndarray:
    """Convert finite samples [N] to int16 [T] at `sample_rate`, T <= samples (None: all).

    A share of `OVERS` may lie beyond full scale, up to `HIGHEST_OVER` times as high: it is clipped.

    Args:
        wave: int16, or float32.
        full_scale: number that counts as full scale; None: int16, or other integers in full scale 1.

    Raises:
        OutOfScale: more samples lie beyond full scale.
        UnreadableClip: nothing but silence is left of sound, because of its scale (OutOfScale) or the rate.
    """
    used = wave if samples is None else wave[: math.ceil(samples * ratio_of(rate, sample_rate))]
    if full_scale is not None:
        if (peak := _peak(used)) > full_scale:
            share = float(np.mean(np.abs(used) > full_scale))
            if share > OVERS or peak > HIGHEST_OVER * full_scale:
                raise OutOfScale(f"{100 * share:.3g} % of its samples lie beyond full scale", peak, full_scale)
        wave = wave / full_scale
    clip = to_int16(resample(wave, rate, sample_rate))[:samples]
    if clip.min() < clip.max() or used.min() == used.max():
        return clip
    reason, peak = f"rounds to silence in 16 bits at {sample_rate} Hz", _peak(used)
    quiet = used.dtype != np.int16 and peak < (full_scale or 1) / FULL_SCALE
    if quiet and full_scale is not None:
        raise OutOfScale(reason, peak, full_scale)
    raise UnreadableClip(reason + (": save its numbers in 16 bits, or as floating point" if quiet else ""))


def _peak(wave: np.ndarray) -> float:
    return max(-float(wave.min()), float(wave.max()))


def full_scale_for(peak: float) -> str:
    """Return the option with a full scale that leaves room above a peak: a power of 2, two to four times as large.

    >>> full_scale_for(16.2), full_scale_for(3e-5)
    ('dataset.full_scale=64', 'dataset.full_scale=6.1035156e-05')
    """
    return f"dataset.full_scale={2.0 ** math.ceil(math.log2(2 * peak)):.8g}"


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
    steps = wave * FULL_SCALE
    np.rint(steps, out=steps)
    return np.clip(steps, -FULL_SCALE, FULL_SCALE - 1, out=steps).astype(np.int16)


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
    return waves.to(device).to(torch.float32, copy=True).mul_(1 / FULL_SCALE)  # exact: full scale is a power of 2


def heard(recorded: float, clip: float) -> float:
    """Return the share of a recording that a clip holds, lengths in s: 1 if what is cut off is not even 10 ms.

    >>> heard(300.0, 2.0), heard(0.4, 2.0)
    (0.006666666666666667, 1.0)
    """
    return clip / recorded if recorded - clip > SHORTEST_CUT else 1.0


def duration(path: Path) -> float:
    """Return the length in seconds, from the header if it has it.

    Raises:
        UnreadableClip: the file cannot be read.
    """
    frames, rate = length(path)
    return round(frames / rate, 6)


def length(path: Path) -> tuple[int, int]:
    """Return the frames of a recording and its rate in Hz; errors as for `duration`."""
    with opened(split_channel(path)[0]) as file:
        return _count(file), file.samplerate


def sampling_rate(path: Path) -> int:
    """Return the sampling frequency in Hz that the header tells; errors as for `duration`."""
    with opened(path) as file:
        return int(file.samplerate)


def count_channels(path: Path) -> int:
    """Return the number of channels that the header tells; errors as for `duration`."""
    with opened(path) as file:
        return int(file.channels)


def raw_blocks(path: Path) -> Iterator[tuple[RawFormat, np.ndarray]]:
    """Yield all of a recording as it is stored, block by block: its format, and a block [N, channels].

    Blocks have at most `BLOCK` values: int16 for up to 16 bits, int32 for more, with the highest bit in its place, and
    float32 for floating point.

    Raises:
        UnreadableClip: as for `read`, at the first block or at the end, but not for sound that is silent or not finite.
    """
    with opened(split_channel(path)[0]) as file:
        bits = RAW_BITS.get(file.subtype, 0)
        kind = "float32" if file.subtype in FLOATING else "int32" if bits > 16 else "int16"
        form = RawFormat(file.samplerate, file.channels, bits, file.subtype)
        decoded = 0
        while len(block := file.read(max(1, BLOCK // file.channels), dtype=kind, always_2d=True)):
            decoded += len(block)
            yield form, block
        if file.frames < UNKNOWN and decoded < file.frames:
            raise truncated(decoded)
        if not decoded:
            raise UnreadableClip("empty: it contains no samples")


@contextmanager
def opened(path: Path) -> "Iterator[soundfile.SoundFile]":
    """Open a recording that has sound, all that its header declares; every error becomes an UnreadableClip."""
    import soundfile

    try:
        with open_regular(path) as raw:
            sound, counted = find_sound(raw), mp3_tells_length(raw)
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
                if file.format == "MP3" and not counted:
                    raise UnreadableClip(
                        "of format MP3 without its length, which is not read: convert it to wav or FLAC"
                    )
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
        if path.suffix.lower() in UNREAD:
            reason = (
                f"{path.suffix} is not read: convert it, for example by ffmpeg -i {shlex.quote(path.name)} new.flac"
            )
        raise UnreadableClip(f"not readable as audio: {reason}") from None


def _check_header(file: "soundfile.SoundFile", sound: SoundData | None) -> None:
    if file.format not in FORMATS:
        raise UnreadableClip(f"of format {file.format}, which is not read: convert it to wav or FLAC")
    if file.samplerate not in RATES:
        raise UnreadableClip(f"cannot be resampled: its header says {file.samplerate} Hz, not 1 to 400 kHz")
    if not file.frames:
        raise UnreadableClip("empty: it contains no samples")
    if file.format in CHUNKED and sound is None:
        raise UnreadableClip("damaged: the chunks of its header do not lead to the sound")
    if file.subtype.startswith("MPEG") and file.format in CHUNKED:  # libsndfile stops at an estimate of its length
        raise UnreadableClip(f"of format {file.format} with mp3 inside, which is not read: convert it to PCM or FLAC")
    if sound and sound.declared is not None and (missing := sound.declared - sound.present) > 0:
        if missing in (sound.field + 4, sound.field - 4):
            raise UnreadableClip(
                f"truncated, or miscounted by its recorder (then save it with another program): its header declares "
                f"{missing} bytes more than there are, which is its own length"
            )
        raise truncated(file.frames)


def check_channel(file: "soundfile.SoundFile", channel: int | str) -> None:
    """Raise UnreadableClip for a recording without this channel."""
    if channel != "mean" and not 0 <= int(channel) < file.channels:
        raise UnreadableClip(
            f"has no channel {channel}: it has {file.channels}, counted from 0 (or dataset.channel=mean)"
        )


def _decode(file: "soundfile.SoundFile", channel: int | str, frames: int | None) -> np.ndarray:
    """Decode the first frames (None: all) of a channel, [T], int16 or float32."""
    check_channel(file, channel)
    wanted = file.frames if frames is None else min(frames, file.frames)
    parts = [one_channel(block, channel) for block in sound_blocks(file, wanted)]
    decoded = sum(map(len, parts))
    if file.frames < UNKNOWN and decoded < wanted:
        raise truncated(decoded)
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


def sound_blocks(file: "soundfile.SoundFile", frames: int) -> Iterator[np.ndarray]:
    """Decode frames block by block, [N, channels]: a header may claim any number of frames and channels."""
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    while frames > 0 and len(block := file.read(min(frames, BLOCK // file.channels), dtype=dtype, always_2d=True)):
        yield block
        frames -= len(block)


def _count(file: "soundfile.SoundFile", decoded: int = 0) -> int:
    """Return the frames of a recording, of which some are decoded; where its header does not say, decode the rest."""
    frames = file.frames if file.frames < UNKNOWN else decoded + sum(map(len, sound_blocks(file, file.frames)))
    if not frames:
        raise UnreadableClip("empty: it contains no samples")
    return frames


def truncated(frames: int) -> UnreadableClip:
    """Make the error for a recording that ends after so many frames."""
    return UnreadableClip(f"truncated: {frames} samples, fewer than its header declares")


def with_margin(frames: int, ratio: Fraction) -> int:
    """Add the frames that follow to some that are wanted, so that resampling gives these as if all were decoded."""
    width = math.ceil(FILTER_WIDTH * ratio.numerator / (ROLLOFF * min(ratio.numerator, ratio.denominator)))
    return max(MIN_RESAMPLED, frames + 2 * (width + ratio.numerator))


def one_channel(samples: np.ndarray, channel: int | str) -> np.ndarray:
    """Select or average channels, [T, channels] -> [T]; the mean of int16 channels is rounded back to int16."""
    if channel == "mean":
        mean = samples.mean(axis=1, dtype=np.float32)
        return np.rint(mean).astype(np.int16) if samples.dtype == np.int16 else mean
    return np.ascontiguousarray(samples[:, int(channel)])
