"""`file:long.wav`: a recording, in real time or as fast as it can be scored."""

import logging
from collections.abc import Iterator
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._audio import UNKNOWN, UnreadableClip
from mimii_pl.live.source._recording import OpenRecording, Pace, recording
from mimii_pl.live.source._source import SoundSource
from mimii_pl.live.windows import Block

log = logging.getLogger(__name__)


class FileSource(SoundSource):
    """A recording that libsndfile reads; a killed monitor goes on where it was.

    Args:
        path: of it.
        base: number of its first sample.
        speed: times as fast as real time; infinity: as fast as it can be scored.
        full_scale: number in floating-point recordings that counts as full scale.
    """

    live = False
    goes_back = True
    quiet_after = None

    def __init__(self, path: Path, *, base: int = 0, speed: float = 1.0, full_scale: float = 1.0) -> None:
        super().__init__(f"file:{path}")
        self.path, self.base, self.speed, self.full_scale = path, base, speed, full_scale

    @property
    def identity(self) -> str:
        try:
            status = self.path.stat()
        except OSError:
            return self.name
        return f"{self.name} of {status.st_size} bytes and time {status.st_mtime_ns}"

    def open(self) -> None:
        try:
            with recording(self.path) as found:
                self.rate, self.channels = found.rate, found.channels
        except UnreadableClip as reason:
            raise InputError(f"source=file:{printable(self.path)}: {reason}") from None

    def blocks(self, first: int) -> Iterator[Block | None]:
        skip = max(0, first - self.base)
        try:
            with recording(self.path, self.full_scale, skip) as found:
                if found.frames < UNKNOWN and skip >= found.frames:
                    log.warning(
                        "%s has been heard to its end: another events=<folder> hears it again", printable(self.path)
                    )
                    return
                yield from self._timed(found, skip)
        except UnreadableClip as reason:
            log.warning("%s: %s", printable(self.path), reason)

    def _timed(self, found: OpenRecording, skip: int) -> Iterator[Block]:
        pace, at = Pace(self.speed), skip
        for samples in found.blocks:
            if self.stopped:
                return
            yield Block(self.base + at, samples, found.began + at / found.rate)
            at += samples.shape[1]
            pace.wait(samples.shape[1] / found.rate)
