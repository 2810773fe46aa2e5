"""`-`: samples without a header on the standard input, as `arecord -f S16_LE -t raw` writes them."""

import sys
import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from mimii_pl.live.source._source import BLOCK_SECONDS, QUIET_AFTER, SoundSource
from mimii_pl.live.windows import Block


class StdinSource(SoundSource):
    """Raw samples: int16, little-endian, interleaved. Whoever writes them waits while they are not taken.

    Args:
        rate: in Hz.
        channels: number of them.
        stream: that is read; None: the standard input.
    """

    live = False
    quiet_after = QUIET_AFTER

    def __init__(self, rate: int, channels: int = 1, *, stream: BinaryIO | None = None) -> None:
        super().__init__("-")
        self.rate, self.channels, self.stream = rate, channels, stream or sys.stdin.buffer

    def open(self) -> None:
        pass

    def blocks(self, first: int) -> Iterator[Block | None]:
        size, wanted = 2 * self.channels, max(1, round(BLOCK_SECONDS * self.rate / 4))
        at, rest = time.time(), b""
        read = getattr(self.stream, "read1", self.stream.read)  # what there is, up to a block
        while not self.stopped and (heard := read(wanted * size)):
            content = rest + heard
            whole = len(content) // size * size
            rest = content[whole:]
            if not whole:
                continue
            samples = np.frombuffer(content[:whole], "<i2").reshape(-1, self.channels).T
            yield Block(first, np.ascontiguousarray(samples, np.int16), at)
            first += samples.shape[1]
            at += samples.shape[1] / self.rate
