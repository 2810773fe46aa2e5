"""Hostile zips: what they contain, how they contain it, and what they say about it."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from attack.outcome import Attack, Expected

CENTRAL, LOCAL = b"PK\1\2", b"PK\3\4"  # beginning of an entry of the list at the end, and of a file
CONTENT = {f"fan/train/{number}.wav": bytes([number]) * (number + 1) * 100 for number in range(4)}
BOMB = 300 * 2**20  # bytes to which a hostile archive grows; more than a test allows


class Zip(NamedTuple):
    """One hostile archive, and what must come of it."""

    attack: Attack
    content: bytes


def zips(rng: np.random.Generator) -> Iterator[Zip]:
    """Yield hostile archives without end, every kind in turn."""
    while True:
        for make in (member, header, sizes, damaged, bomb, overlapping):
            name, content, expected = make(rng)
            yield Zip(Attack(f"zips: {make.__name__}", name, expected, ("hostile.zip",)), content)


Made = tuple[str, bytes, Expected]


def healthy(compression: int = zipfile.ZIP_DEFLATED, more: dict[str, bytes] | None = None) -> bytes:
    """Pack the healthy files, and others behind them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        for name, data in {**CONTENT, **(more or {})}.items():
            file.writestr(name, data)
    return packed.getvalue()


OUTSIDE = ("../x.wav", "fan/../../x.wav", "/x.wav", "//x.wav", "fan\\..\\..\\x.wav", "C:/x.wav", "C:\\fan\\x.wav")
OUTSIDE += ("fan/train/../../../x.wav", "\\\\host\\fan\\x.wav", "..\\fan\\x.wav", "./../fan/x.wav")
ODD = (".", "./", "..", "fan", "fan/train", "fan/train/0.wav/x.wav", "fan/.", "fan/train/.", "fan//train//y.wav")
ODD += (f"fan/{'x' * 300}.wav", f"fan/{'x/' * 2500}y.wav", "fan/tr\0ain/x.wav", "fan/train/CON", "fan/ /x.wav")
ODD += ("fan/train/\u202ex.wav", "fan/train/a\nb.wav", "fan/train/0.WAV", "fan/train/0.wav", "fan/train/x.wav.partial")
ODD += ("fan/train/0.wav.partial", "FAN/train/x.wav", "archives/fan.json", "fan/\ud800.wav", "fan/train/x:y.wav")


def member(rng: np.random.Generator) -> Made:
    """Hold a member whose name, or kind, is none of a recording."""
    if rng.random() < 0.3:
        kind = int(rng.choice([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR, stat.S_IFSOCK]))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            entry = zipfile.ZipInfo(str(rng.choice(["fan/train", "fan/train/x.wav"])))
            entry.external_attr = (kind | 0o777) << 16
            file.writestr(entry, "/etc/passwd")
            file.writestr("fan/train/x.wav/y.wav", b"y")
        expected = Expected.REFUSED if kind == stat.S_IFLNK else Expected.EITHER
        return f"{entry.filename} of mode {kind:o}", packed.getvalue(), expected
    outside = rng.random() < 0.5
    name = str(rng.choice(OUTSIDE if outside else ODD))
    content = healthy(more={_placeholder(name): b"evil"})
    raw = name.encode("utf-8", errors="surrogatepass")
    return f"member {name:.40}", _renamed(content, raw), Expected.REFUSED if outside else Expected.EITHER


def _placeholder(name: str) -> str:
    """Return a name of the same length in bytes, which `zipfile` does not change."""
    return "@" * len(name.encode("utf-8", errors="surrogatepass"))


def _renamed(content: bytes, name: bytes) -> bytes:
    return content.replace(b"@" * len(name), name)


def header(rng: np.random.Generator) -> Made:
    """State another method, encryption, version or time, in both headers of the first member or in one."""
    content = bytearray(healthy())
    kind = str(rng.choice(["encrypted", "strongly encrypted", "patched", "method", "version", "time", "CRC"]))
    place, form, value = {
        "encrypted": (6, "<H", 1),
        "strongly encrypted": (6, "<H", 0x41),
        "patched": (6, "<H", 0x20),
        "method": (8, "<H", int(rng.choice([1, 6, 9, 12, 14, 93, 95, 97, 98, 99, 255, 65535]))),
        "version": (4, "<H", int(rng.choice([64, 99, 255]))),
        "time": (10, "<I", int(rng.integers(2**32))),
        "CRC": (14, "<I", int(rng.integers(2**32))),
    }[kind]
    both = bool(rng.random() < 0.7)
    struct.pack_into(form, content, content.index(CENTRAL) + place + 2, value)
    if both:
        struct.pack_into(form, content, content.index(LOCAL) + place, value)
    harmless = kind in ("time", "version") or not both
    return f"{kind} {value}, both {both}", bytes(content), Expected.EITHER if harmless else Expected.REFUSED


def sizes(rng: np.random.Generator) -> Made:
    """Lie about sizes, offsets or counts."""
    content = bytearray(healthy())
    first, end = content.index(CENTRAL), content.index(b"PK\5\6")
    value = int(rng.choice([0, 1, 99, 2**31, 2**32 - 1])) if rng.random() < 0.7 else int(rng.integers(2**32))
    name, place = {
        "size": ("size", first + 24),
        "compressed": ("compressed size", first + 20),
        "offset": ("offset", first + 42),
        "list": ("offset of the list", end + 16),
        "list size": ("size of the list", end + 12),
        "disk": ("disk and extra fields", first + 30),
    }[str(rng.choice(["size", "compressed", "offset", "list", "list size", "disk"]))]
    struct.pack_into("<I", content, place, value)
    return f"{name} = {value}", bytes(content), Expected.EITHER


def damaged(rng: np.random.Generator) -> Made:
    """Be cut, flipped, something else, or nothing."""
    content = bytearray(healthy())
    kind = str(rng.choice(["cut", "flipped", "random", "text", "empty", "no members", "another layout", "behind text"]))
    if kind == "cut":
        kept = int(rng.integers(len(content)))
        return f"cut after {kept}", bytes(content[:kept]), Expected.REFUSED
    if kind == "flipped":
        places = rng.integers(0, len(content), rng.integers(1, 9))
        for place in places:
            content[place] ^= 1 << int(rng.integers(8))
        return f"flipped at {sorted(map(int, places))}", bytes(content), Expected.EITHER
    if kind == "behind text":
        return kind, b"x" * 1000 + content, Expected.EITHER
    others = {
        "random": rng.bytes(500),
        "text": b"<html>404</html>",
        "empty": b"",
        "no members": b"PK\5\6" + bytes(18),
        "another layout": healthy().replace(b"fan/", b"fen/"),
    }
    return kind, others[kind], Expected.REFUSED


def bomb(rng: np.random.Generator) -> Made:
    """Grow to more than is allowed, said or unsaid."""
    content = bytearray(_bomb())
    if rng.random() < 0.5:
        return "bomb", bytes(content), Expected.REFUSED
    told = int(rng.integers(0, 1000))
    struct.pack_into("<I", content, content.index(CENTRAL) + 24, told)
    if rng.random() < 0.5:
        struct.pack_into("<I", content, content.index(LOCAL) + 22, told)
        struct.pack_into("<I", content, content.index(CENTRAL) + 16, zlib.crc32(bytes(told)))
    return f"bomb that states {told} bytes", bytes(content), Expected.EITHER


@cache
def _bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("fan/train/bomb.wav", bytes(BOMB))
    return packed.getvalue()


def overlapping(rng: np.random.Generator) -> Made:
    """Hold one file under many names, or several files under one."""
    content = healthy()
    start, end = content.index(CENTRAL), content.index(b"PK\5\6")
    entries = content[start:end]
    times = int(rng.integers(2, 60))
    count = len(CONTENT) * times
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(entries) * times, start, 0)
    return f"the list {times} times", content[:start] + entries * times + tail, Expected.EITHER
