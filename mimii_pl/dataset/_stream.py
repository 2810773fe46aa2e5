"""Read a recording of any length as clips, block by block, in memory that does not depend on its length."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.dataset._audio import (
    FLOATING,
    SHORTEST_CUT,
    UNKNOWN,
    UnreadableClip,
    check_channel,
    check_sound,
    fit_length,
    one_channel,
    opened,
    ratio_of,
    sound_blocks,
    to_clip,
    truncated,
    warn_of_rate,
    with_margin,
)
from mimii_pl.dataset._channels import ALL_CHANNELS, split_channel

if TYPE_CHECKING:
    import soundfile


class Part(NamedTuple):
    """A clip of a recording.

    Attributes:
        start: of the clip in the recording, in s.
        wave: int16 [samples], or with `channel=all` [C, samples] of the channels that can be used; None: it cannot.
        fault: the reason.
    """

    start: float
    wave: np.ndarray | None
    fault: UnreadableClip | None = None


class Streamed(NamedTuple):
    """The end of a recording: its length in s."""

    seconds: float


def stream(
    path: Path,
    *,
    sample_rate: int,
    samples: int,
    hop: int,
    channel: int | str,
    full_scale: float = 1.0,
    skip: int = 0,
) -> Iterator[Part | Streamed]:
    """Yield the clips of a recording, each `hop` after the one before, and then its length.

    A clip is what `read` makes of a file cut there: the first one equals it. The last clip ends with the recording,
    and begins less than `hop` after the one before. A recording no longer than a clip is one clip, repeated. At most a
    clip and a block are in memory.

    Args:
        samples, hop: at `sample_rate`.
        channel: as for `read`, or `all`.
        full_scale: as for `read`.
        skip: number of clips to leave out at the beginning.

    Raises:
        UnreadableClip: the whole recording cannot be used: as for `read`, but a clip that is silent, not finite or out
            of scale is yielded with its fault.
    """
    file_path, channel = split_channel(path, channel)
    with opened(file_path) as file:
        rate, scale = file.samplerate, full_scale if file.subtype in FLOATING else None
        if channel != ALL_CHANNELS:
            check_channel(file, channel)
        ratio = ratio_of(rate, sample_rate)
        warn_of_rate(path, rate, sample_rate)
        frames = math.ceil(samples * ratio)
        needed = frames if ratio == 1 else with_margin(frames, ratio)

        def clip(wave: np.ndarray, start: int) -> Part:
            heard, fault = [], None
            for one in wave.T if wave.ndim == 2 else [wave]:
                try:
                    check_sound(one, frames)
                    heard.append(fit_length(to_clip(one, rate, sample_rate, samples, scale), samples))
                except UnreadableClip as reason:
                    fault = reason
            if not heard:
                return Part(start / rate, None, fault)
            return Part(start / rate, np.stack(heard) if wave.ndim == 2 else heard[0])

        number = skip
        first = decoded = max(0, round(number * hop * ratio) - frames) if skip else 0
        move_to(file, first)
        held = np.empty(0, np.int16)  # samples from frame `first` on
        for block in sound_blocks(file, file.frames):
            heard = block if channel == ALL_CHANNELS else one_channel(block, channel)
            held = np.concatenate([held, heard]) if len(held) else heard
            decoded += len(block)
            while (start := round(number * hop * ratio)) + needed <= decoded:
                yield clip(held[start - first : start - first + needed], start)
                number += 1
            kept = max(first, min(start, decoded - frames))
            held, first = held[kept - first :], kept
        if file.frames < UNKNOWN and decoded < file.frames:
            raise truncated(decoded)
        if not decoded:
            raise UnreadableClip("empty: it contains no samples")
        for start in starts_of(decoded, rate, sample_rate=sample_rate, samples=samples, hop=hop)[number:]:
            yield clip(held[start - first : start - first + needed], start)
        yield Streamed(decoded / rate)


def starts_of(length: int, rate: int, *, sample_rate: int, samples: int, hop: int) -> list[int]:
    """Return the first frames of the clips of a recording of a length in frames, at least one; see `stream`.

    >>> starts_of(2500, 1000, sample_rate=1000, samples=1000, hop=1000)
    [0, 1000, 1500]
    """
    ratio = ratio_of(rate, sample_rate)
    frames = math.ceil(samples * ratio)
    starts: list[int] = []
    while (start := round(len(starts) * hop * ratio)) + frames <= length:
        starts.append(start)
    if not starts or length - starts[-1] - frames > SHORTEST_CUT * rate:
        starts.append(max(0, length - frames))
    return starts


def excerpt(
    path: Path, start: float, *, sample_rate: int, samples: int, channel: int | str, full_scale: float = 1.0
) -> np.ndarray:
    """Read a part of a recording, int16 [T], T <= samples; what `read` makes of a file cut at `start`, in s.

    Raises:
        UnreadableClip: as for `read`, or the recording ends before.
    """
    file_path, channel = split_channel(path, channel)
    with opened(file_path) as file:
        check_channel(file, channel)
        ratio = ratio_of(file.samplerate, sample_rate)
        frames = math.ceil(samples * ratio)
        wanted = frames if ratio == 1 else with_margin(frames, ratio)
        move_to(file, round(start * file.samplerate))
        parts = [one_channel(block, channel) for block in sound_blocks(file, wanted)]
        if not parts:
            raise UnreadableClip(f"ends before {start:g} s")
        wave, scale = np.concatenate(parts), full_scale if file.subtype in FLOATING else None
        check_sound(wave, frames)
        return to_clip(wave, file.samplerate, sample_rate, samples, scale)


def move_to(file: "soundfile.SoundFile", frame: int) -> None:
    """Move to a frame; where a file cannot, decode what is before it."""
    if not frame:
        return
    if frame < file.frames:
        try:
            file.seek(frame)
        except RuntimeError:
            for _ in sound_blocks(file, frame):
                pass
    else:
        raise UnreadableClip(f"ends before {frame / file.samplerate:g} s")
