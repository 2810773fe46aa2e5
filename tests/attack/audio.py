"""Hostile recordings: cut, flipped, lying, endless, of other formats, and files that are no regular ones."""

import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from attack.outcome import Attack, Expected
from attack.special import SPECIAL

RATE = 16000  # Hz
SECONDS = 0.5
LOSSLESS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "W64": "wav", "AIFF": "wav", "CAF": "wav", "AU": "wav"}
LOSSLESS |= {"FLAC": "flac"}  # container -> suffix of the names that are given to it
HUGE = 100 * 2**30  # bytes
HEADER = 64  # bytes at the beginning of a file in which most of what it says stands


class Recording(NamedTuple):
    """One hostile recording.

    Attributes:
        attack: what is hostile about it, and what must come of it.
        suffix: of its name.
        write: writes it at a path.
        valued: if it is read, its score is that of the healthy sound (`sound`).
    """

    attack: Attack
    suffix: str
    write: Callable[[Path], None]
    valued: bool = True


def sound(seconds: float = SECONDS) -> np.ndarray:
    """Return the healthy sound of all of them, int16 [T], always the same."""
    rng = np.random.default_rng(1)
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * 250 * time) + 0.3 * rng.standard_normal(len(time))
    return (3000 * wave).astype(np.int16)


def encoded(container: str, wave: np.ndarray | None = None, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    """Encode a waveform, by default the healthy sound."""
    file = io.BytesIO()
    soundfile.write(file, sound() if wave is None else wave, rate, format=container, subtype=subtype)
    return file.getvalue()


def recordings(rng: np.random.Generator) -> Iterator[Recording]:
    """Yield hostile recordings without end: every kind in turn, each time with other random values."""
    while True:
        for make in (cut, flipped, header_field, lying_size, other_rate, endless, other_format, no_file, bad_samples):
            yield make(rng)


def _recording(
    kind: str, name: str, content: bytes, expected: Expected, suffix: str = "wav", valued: bool = True
) -> Recording:
    return Recording(Attack(f"audio: {kind}", name, expected), suffix, lambda path: _write(path, content), valued)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def cut(rng: np.random.Generator) -> Recording:
    """Cut a file at a random place: what is missing is missed, unless none of it is wanted."""
    container = str(rng.choice([*LOSSLESS, "OGG"]))
    whole = encoded(container, subtype="VORBIS" if container == "OGG" else "PCM_16")
    kept = int(rng.integers(0, len(whole) - 1))
    name = f"{container} of {len(whole)} bytes cut after {kept}"
    return _recording("cut", name, whole[:kept], Expected.EITHER, LOSSLESS.get(container, "wav"), container != "OGG")


def flipped(rng: np.random.Generator) -> Recording:
    """Flip bits: half of the time in the header."""
    container = str(rng.choice([*LOSSLESS, "OGG"]))
    content = bytearray(encoded(container, subtype="VORBIS" if container == "OGG" else "PCM_16"))
    places = rng.integers(0, HEADER if rng.random() < 0.5 else len(content), rng.integers(1, 9))
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    name = f"{container} with flipped bits at {sorted(map(int, places))}"
    return _recording("flipped bits", name, bytes(content), Expected.EITHER, LOSSLESS.get(container, "wav"), False)


FIELDS = {  # field of the format chunk -> place, format, values
    "format": (20, "<H", (0, 2, 3, 6, 7, 17, 49, 80, 0xFFFE, 0xFFFF)),
    "channels": (22, "<H", (0, 2, 7, 255, 1000, 1025, 65535)),
    "bytes per second": (28, "<I", (0, 1, 2**31, 2**32 - 1)),
    "block align": (32, "<H", (0, 1, 3, 4, 1000, 65535)),
    "bits": (34, "<H", (0, 1, 7, 8, 12, 24, 32, 33, 64, 255, 65535)),
    "size of the format chunk": (16, "<I", (0, 1, 14, 15, 17, 40, 2**31, 2**32 - 1)),
    "size of the file": (4, "<I", (0, 1, 36, 2**31, 2**32 - 1)),
}


def header_field(rng: np.random.Generator) -> Recording:
    """Set a field of a wav's header to nonsense. Its samples may then be read as others: no value is known."""
    field = str(rng.choice(list(FIELDS)))
    place, form, values = FIELDS[field]
    value = int(rng.choice(values)) if rng.random() < 0.7 else int(rng.integers(2 ** (8 * struct.calcsize(form))))
    content = _patched(encoded("WAV"), place, form, value)
    valued = field in ("size of the file", "bytes per second")  # nothing else depends on them
    return _recording("header", f"{field} = {value}", content, Expected.EITHER, valued=valued)


def _patched(content: bytes, place: int, form: str, value: int) -> bytes:
    return content[:place] + struct.pack(form, value) + content[place + struct.calcsize(form) :]


def lying_size(rng: np.random.Generator) -> Recording:
    """State another amount of samples than there is."""
    size = 2 * len(sound())
    if rng.random() < 0.4:  # flac: 36 bits at the end of the 64 that begin at byte 18
        total = int(rng.choice([0, 1, len(sound()) + 1, 2**32, 2**36 - 1]))
        whole = encoded("FLAC")
        packed = int.from_bytes(whole[18:26], "big") >> 36 << 36 | total
        content = whole[:18] + packed.to_bytes(8, "big") + whole[26:]
        return _recording("size", f"FLAC that states {total} samples", content, Expected.EITHER, "flac", total != 1)
    told = int(rng.choice([size + 2, size + int(rng.integers(2, 2**20)) // 2 * 2, 2**31 - 2, 2**31, 2**32 - 1]))
    streamed = told >= 2**31 - 2  # a recorder that could not seek back
    expected = Expected.EITHER if streamed else Expected.REFUSED
    return _recording("size", f"wav that states {told} bytes", _patched(encoded("WAV"), 40, "<I", told), expected)


def other_rate(rng: np.random.Generator) -> Recording:
    """State a rate that no recorder has, or one that is nearly right."""
    rates = [0, 1, 2, 10, 999, 400_001, 2**31 - 1, 2**31, 2**32 - 1, 15_999, 16_001, 47_999, 96_001, 399_989]
    rate = int(rng.choice(rates)) if rng.random() < 0.7 else int(rng.integers(1000, 400_000))
    inside = 1000 <= rate <= 400_000
    expected = Expected.READ if rate in (15_999, 16_001) else Expected.EITHER if inside else Expected.REFUSED
    near = abs(rate - RATE) <= 1
    if rng.random() < 0.3 and not near:  # with many samples, so that resampling them takes what it takes
        content, name = encoded("WAV", np.tile(sound(), 60)), f"30 s at {rate} Hz"
    else:
        content, name = encoded("WAV"), f"{rate} Hz"
    return _recording("rate", name, _patched(content, 24, "<I", rate), expected, valued=near)


def endless(rng: np.random.Generator) -> Recording:
    """Go on for gigabytes or hours behind the wanted seconds; only those are decoded."""
    kind = int(rng.integers(4))
    if kind == 0:
        head = encoded("RF64")
        place = head.index(b"ds64") + 8  # sizes of file, data and samples, 8 bytes each
        sizes = struct.pack("<QQQ", HUGE, HUGE - 104, (HUGE - 104) // 2)
        return _sparse("RF64 of 100 GiB", head[:place] + sizes + head[place + 24 :], HUGE, Expected.READ)
    if kind == 1:
        size = 3 * 2**30
        head = _patched(encoded("WAV"), 40, "<I", size - 44)
        return _sparse("wav of 3 GiB", head, size, Expected.EITHER)  # sizes beyond 2 GiB are open
    if kind == 2:
        size = 2**31 - 100
        silent = _patched(encoded("WAV", np.zeros(8, np.int16)), 40, "<I", size - 44)
        return _sparse("2 GiB of zeros", silent, size, Expected.REFUSED)
    minutes = int(rng.integers(5, 61))
    attack = Attack("audio: endless", f"FLAC of {minutes} minutes", Expected.READ)
    return Recording(attack, "flac", lambda path: _long_flac(path, minutes))


def _sparse(name: str, head: bytes, size: int, expected: Expected) -> Recording:
    def write(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return Recording(Attack("audio: endless", name, expected), "wav", write)


def _long_flac(path: Path, minutes: int) -> None:
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="FLAC") as file:
        file.write(sound())
        for _ in range(minutes):
            file.write(np.zeros(60 * RATE, np.int16))


OTHERS = {
    "nothing": b"",
    "text": b"this is no sound\n" * 9,
    "a page": b"<html><body><script>alert(1)</script></body></html>",
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + b"\0" * 40,
    "elf": b"\x7fELF\2\1\1" + b"\0" * 9 + b"\2\0\x3e\0\1\0\0\0" + b"\0" * 100,
    "zip": b"PK\3\4" + b"\0" * 60,
    "only RIFF": b"RIFF",
    "an empty RIFF": b"RIFF\4\0\0\0WAVE",
    "two NUL": b"\0\0",
    "only fLaC": b"fLaC",
    "an endless ID3 tag": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + b"\0" * 50,
    "an endless chunk": b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff" + b"\0" * 50,
}


def other_format(rng: np.random.Generator) -> Recording:
    """Be of another format than the name says, or of none."""
    if rng.random() < 0.3:
        size = int(rng.integers(1, 5000))
        start = bytes(rng.choice([b"", b"RIFF", b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"riff"]))
        return _recording("format", f"{start!r} and {size} random bytes", start + rng.bytes(size), Expected.REFUSED)
    name = str(rng.choice(list(OTHERS)))
    suffix = str(rng.choice(["wav", "flac", "WAV"]))
    return _recording("format", f"{name} as .{suffix}", OTHERS[name], Expected.REFUSED, suffix)


def bad_samples(rng: np.random.Generator) -> Recording:
    """Hold samples that are no sound: not finite, all equal, of absurd amplitude."""
    wave = sound() / 32768
    kind = str(rng.choice(["nan", "inf", "-inf", "silence", "constant", "no samples"]))
    place = int(rng.integers(len(wave)))
    if kind in ("silence", "constant"):
        wave = np.full(len(wave), 0.0 if kind == "silence" else rng.uniform(-1, 1))
    elif kind == "no samples":
        wave = wave[:0]
    else:
        wave[place] = float(kind)
    subtype = str(rng.choice(["FLOAT", "DOUBLE"]))
    return _recording("samples", f"{kind}, {subtype}", encoded("WAV", wave, subtype=subtype), Expected.REFUSED)


def no_file(rng: np.random.Generator) -> Recording:
    """Be something else than a regular file."""
    name = str(rng.choice(list(SPECIAL)))
    return Recording(Attack("audio: no file", name, Expected.REFUSED), str(rng.choice(["wav", "flac"])), SPECIAL[name])
