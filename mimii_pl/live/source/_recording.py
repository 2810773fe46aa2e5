"""Blocks of a recording: by libsndfile, or by FFmpeg where only that reads it; and real time for them."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.dataset._audio import FLOATING, UNKNOWN, UNREAD, UnreadableClip, opened, to_int16, truncated
from mimii_pl.dataset._stream import move_to
from mimii_pl.live.source._process import FfmpegProcess
from mimii_pl.live.source._source import BLOCK_SECONDS, SourceLostError

if TYPE_CHECKING:
    import soundfile


class OpenRecording(NamedTuple):
    """A recording that is open.

    Attributes:
        rate: in Hz.
        channels: number of them.
        frames: samples of a channel; `UNKNOWN` or more: the header does not say.
        began: unix time of its first sample in s: its length before the time that the file was last written.
        blocks: int16 [C, T].
    """

    rate: int
    channels: int
    frames: int
    began: float
    blocks: Iterator[np.ndarray]


@contextmanager
def recording(path: Path, full_scale: float = 1.0, skip: int = 0) -> Iterator[OpenRecording]:
    """Open a recording.

    Args:
        full_scale: number in floating-point recordings that counts as full scale.
        skip: samples to leave out at its beginning.

    Raises:
        UnreadableClip: it cannot be read, or, from `blocks`, it is truncated.
    """
    if path.suffix.lower() in UNREAD:
        try:
            with closing(FfmpegProcess(str(path.absolute()))) as process:
                found = process.rate, process.channels, UNKNOWN, path.stat().st_mtime
                yield OpenRecording(*found, _decoded(process, skip))
        except SourceLostError as reason:
            raise UnreadableClip(f"not readable as audio: {reason}") from None
        return
    with opened(path) as file:
        known = file.frames if file.frames < UNKNOWN else 0
        began = path.stat().st_mtime - known / file.samplerate
        yield OpenRecording(file.samplerate, file.channels, file.frames, began, _blocks(file, full_scale, skip))


def _decoded(process: FfmpegProcess, skip: int) -> Iterator[np.ndarray]:
    for _, samples in process.frames():
        if samples.shape[1] > skip:
            yield samples[:, skip:]
        skip = max(0, skip - samples.shape[1])


def _blocks(file: "soundfile.SoundFile", full_scale: float, skip: int) -> Iterator[np.ndarray]:
    scale = full_scale if file.subtype in FLOATING else 1.0
    kind = "int16" if file.subtype == "PCM_16" else "float32"
    size, decoded = max(1, round(BLOCK_SECONDS * file.samplerate)), skip
    move_to(file, skip)
    while len(block := file.read(size, dtype=kind, always_2d=True)):
        decoded += len(block)
        yield np.ascontiguousarray(to_int16(block if kind == "int16" else block / scale).T)
    if file.frames < UNKNOWN and decoded < file.frames:
        raise truncated(decoded)


class Pace:
    """Keeps sound that could come at once to real time.

    Args:
        speed: times as fast as real time; infinity: it does not wait.
    """

    def __init__(self, speed: float) -> None:
        self.speed, self.began, self.seconds = speed, time.monotonic(), 0.0

    def wait(self, seconds: float) -> None:
        """Wait until so many more seconds of sound have passed."""
        self.seconds += seconds
        ahead = self.began + self.seconds / self.speed - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
