"""A process that decodes by FFmpeg, and the watchdog that ends it when it hangs."""

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np

from mimii_pl.core.addresses import without_password
from mimii_pl.core.errors import InputError
from mimii_pl.live.source._decoder import HEAD
from mimii_pl.live.source._source import SourceLostError

FRAME_PATIENCE = 15.0  # s without a frame after which the process is ended
START_PATIENCE = 60.0  # s that the process may take to start, before it is asked for frames
LOOK_EVERY = 0.25  # s between looks of the watchdog
LONGEST_FRAME = 1 << 24  # bytes


class FfmpegProcess:
    """Decodes a stream or a file.

    Args:
        url: with its password, or path of a file.
        patience: s without a frame after which it is ended.

    Attributes:
        rate, channels: of it.
        ends: it is a recording, which is waited for; else it plays on.

    Raises:
        SourceLostError: it cannot be opened.
        InputError: PyAV is missing.
    """

    def __init__(self, url: str, patience: float = FRAME_PATIENCE) -> None:
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise InputError(f"{without_password(url)} needs PyAV ({error}): pip install 'mimii_pl[live]'") from None
        self.patience, self._hung = patience, False
        self._heard = time.monotonic() + START_PATIENCE
        command = [sys.executable, "-m", "mimii_pl.live.source._decoder"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline(1000)  # it has started
        if line:
            self._heard = time.monotonic()
            self._process.stdin.write(f"{url}\n".encode())  # no argument, which other users could see
            self._process.stdin.flush()
            line = self._process.stdout.readline(1000)
        if not line:
            lost = self._lost()
            self.close()
            raise lost
        self._heard = math.inf
        found = json.loads(line)
        self.rate, self.channels, self.ends = int(found["rate"]), int(found["channels"]), bool(found["ends"])

    def _watch(self) -> None:
        while self._process.poll() is None:
            if time.monotonic() - self._heard > self.patience:
                self._hung = True
                self._process.kill()
            time.sleep(LOOK_EVERY)

    def frames(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the samples that were lost before each frame, and the frame, int16 [C, T].

        Raises:
            SourceLostError: no more come, of a stream, or of a recording before its end.
        """
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            self._heard = time.monotonic()
            head = pipe.read(HEAD.size)
            if len(head) < HEAD.size:
                break
            lost, size = HEAD.unpack(head)
            if size > LONGEST_FRAME:
                raise SourceLostError(f"a frame of {size} bytes")
            content = pipe.read(size)
            self._heard = math.inf  # nobody waits for a frame now
            if len(content) < size:
                break
            yield lost, np.ascontiguousarray(np.frombuffer(content, "<i2").reshape(-1, self.channels).T, np.int16)
        if not self.ends or self._process.wait():
            raise self._lost()

    def _lost(self) -> SourceLostError:
        """Return the error for a process that has ended, with its reason."""
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        if self._hung:
            return SourceLostError(f"no sound for {self.patience:g} s")
        return SourceLostError(without_password(said[-1]) if said else "the stream has ended")

    def kill(self) -> None:
        """End it, from any thread: no more frames come."""
        self._process.kill()

    def close(self) -> None:
        """End it, in the thread that reads."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
