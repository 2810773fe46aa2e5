"""`rtsp://`, `http://`: what FFmpeg decodes, in a process of its own."""

import time
from collections.abc import Iterator

from mimii_pl.core.addresses import without_password
from mimii_pl.live.source._process import FRAME_PATIENCE, FfmpegProcess
from mimii_pl.live.source._source import SoundSource
from mimii_pl.live.windows import Block


class StreamSource(SoundSource):
    """A camera, a radio or a recording on a web server; frames that their times show to be missing are counted as lost.

    A stream plays on, and is opened again when it is lost. A recording waits, and is heard once.

    Args:
        url: with its password.
        patience: s without a frame after which the process is ended, and the source opened again.
    """

    def __init__(self, url: str, patience: float = FRAME_PATIENCE) -> None:
        super().__init__(without_password(url))
        self.url, self.patience = url, patience
        self._process: FfmpegProcess | None = None

    def open(self) -> None:
        self._process = FfmpegProcess(self.url, self.patience)
        self.rate, self.channels, self.live = self._process.rate, self._process.channels, not self._process.ends

    def blocks(self, first: int) -> Iterator[Block | None]:
        assert self._process is not None
        began, begin = time.time(), first
        for lost, samples in self._process.frames():
            first += lost
            yield Block(first, samples, began + (first - begin) / self.rate)
            first += samples.shape[1]

    def close(self) -> None:
        if self._process is not None:
            self._process.close()

    def stop(self) -> None:
        super().stop()
        if self._process is not None:
            self._process.kill()
