"""`mic:NAME` or `mic:INDEX`: an input of the sound card, by PortAudio."""

import time
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.core.foreign import printable
from mimii_pl.live.source._source import QUIET_AFTER, SoundSource, SourceLostError
from mimii_pl.live.windows import Block

HELD_SECONDS = 8.0  # of sound between PortAudio's thread and ours
POLL = 0.02  # s between looks at it
WITHOUT_PORTAUDIO = "PortAudio is missing: install the package libportaudio2 (Debian, Ubuntu) or portaudio (others)"
_open_streams = 0  # of this process: PortAudio sees new devices only when it starts, with no stream open
_starting = Lock()


class AudioInput(NamedTuple):
    """An input of the sound card.

    Attributes:
        number: that PortAudio counts it by.
        name: of it.
        host: system that it belongs to, such as ALSA.
        channels: most of them.
        rate: its own, in Hz.
    """

    number: int
    name: str
    host: str
    channels: int
    rate: int


def audio_inputs(*, again: bool = False) -> list[AudioInput]:
    """List the inputs of the sound cards.

    Args:
        again: let PortAudio look for new devices, if no stream is open.

    Raises:
        InputError: sounddevice or PortAudio is missing.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise InputError(f"microphones need sounddevice ({error}): pip install 'mimii_pl[live]'") from None
    except OSError:  # of the library, not of a file
        raise InputError(WITHOUT_PORTAUDIO) from None
    with _starting:
        if again and not _open_streams:
            sounddevice._terminate()
            sounddevice._initialize()
        hosts = sounddevice.query_hostapis()
        return [
            AudioInput(
                number,
                device["name"],
                hosts[device["hostapi"]]["name"],
                device["max_input_channels"],
                round(device["default_samplerate"]),
            )
            for number, device in enumerate(sounddevice.query_devices())
            if device["max_input_channels"] > 0
        ]


def find_input(wanted: str, inputs: list[AudioInput]) -> AudioInput:
    """Return an input by its number, or by its name or a part of it that no other has.

    Raises:
        InputError: there is none, or there are several.
    """
    if wanted.isdecimal():
        found = [one for one in inputs if one.number == int(wanted)]
    else:
        whole = [one for one in inputs if one.name == wanted]
        found = whole or [one for one in inputs if wanted.lower() in one.name.lower()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{one.number} {printable(one.name)}" for one in found or inputs) or "there are none"
    fault = f"{len(found)} inputs have this name" if found else "no such input"
    raise InputError(f"source=mic:{printable(wanted)}: {fault}. Inputs, as `mimii devices` lists them: {listed}")


class MicrophoneSource(SoundSource):
    """An input at its own rate. PortAudio's thread copies into a ring, nothing more.

    Args:
        wanted: name or number.
        channels: number of them that are needed; None: all.

    Attributes:
        overflows: times that the system or this ring had no room.
    """

    quiet_after = QUIET_AFTER

    def __init__(self, wanted: str, channels: int | None = None) -> None:
        super().__init__(f"mic:{wanted}")
        self.wanted, self.needed, self.overflows = wanted, channels, 0
        self._stream: Any = None
        self._known = False

    def open(self) -> None:
        global _open_streams
        inputs = audio_inputs(again=self._known)
        try:
            found = find_input(self.wanted, inputs)
        except InputError as error:
            if self._known:  # it was pulled out
                raise SourceLostError(str(error)) from None
            raise
        import sounddevice

        if (self.needed or 1) > found.channels:
            raise InputError(f"source={self.name} has {found.channels} channels, and the model hears {self.needed}")
        self.prepare(found.rate, self.needed or found.channels)
        try:
            with _starting:
                self._stream = sounddevice.InputStream(
                    device=found.number,
                    samplerate=self.rate,
                    channels=self.channels,
                    dtype="int16",
                    callback=self.hear,
                )
                self._stream.start()
                _open_streams += 1
        except sounddevice.PortAudioError as error:
            raise SourceLostError(one_line(error)) from None
        self._known = True

    def prepare(self, rate: int, channels: int) -> None:
        """Make the ring for a device."""
        self.rate, self.channels = rate, channels
        self._ring = np.zeros((round(HELD_SECONDS * rate), channels), np.int16)
        self._written, self._read = 0, 0  # samples in all
        self._gaps: list[tuple[int, int]] = []  # samples written before a gap, samples lost in it
        self._ends: float | None = None  # time of the device at the end of the last block

    def hear(self, samples: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        """Copy a block [T, C] into the ring: called by PortAudio.

        Args:
            clock: with `inputBufferAdcTime`, the device's time of its first sample in s.
            status: with `input_overflow`, whether the system lost samples before it.
        """
        if status.input_overflow:
            self.overflows += 1
            missing = 0 if self._ends is None else round((clock.inputBufferAdcTime - self._ends) * self.rate)
            self._gaps.append((self._written, max(1, missing)))  # a device without a clock: at least one
        room = len(self._ring) - (self._written - self._read)
        if frames > room:
            self.overflows += 1
            self._gaps.append((self._written, frames))
        else:
            at = self._written % len(self._ring)
            part = min(frames, len(self._ring) - at)
            self._ring[at : at + part] = samples[:part]
            self._ring[: frames - part] = samples[part:]
            self._written += frames
        self._ends = clock.inputBufferAdcTime + frames / self.rate

    def blocks(self, first: int) -> Iterator[Block | None]:
        while not self.stopped:
            found = self.take()
            if found is None:
                if self._stream is not None and not self._stream.active:
                    raise SourceLostError("the device has stopped")
                time.sleep(POLL)
                continue
            lost, samples = found
            first += lost
            if samples.shape[1]:
                yield Block(first, samples, time.time() - samples.shape[1] / self.rate)
                first += samples.shape[1]

    def take(self) -> tuple[int, np.ndarray] | None:
        """Take what the ring holds up to the next gap: samples lost before it, and it, int16 [C, T]; None: nothing."""
        lost = 0
        while self._gaps and self._gaps[0][0] == self._read:
            lost += self._gaps.pop(0)[1]
        end = self._gaps[0][0] if self._gaps else self._written
        count = end - self._read
        if not count and not lost:
            return None
        places = np.arange(self._read, end) % len(self._ring)
        samples = np.ascontiguousarray(self._ring[places].T)
        self._read = end
        return lost, samples

    def close(self) -> None:
        global _open_streams
        if self._stream is not None:
            with _starting:
                self._stream.close()
                _open_streams -= 1
            self._stream = None
