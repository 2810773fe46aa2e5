"""Containers of sound: how many bytes of it a header declares, and how many the file has.

libsndfile reads a truncated file as if it were whole, and reads nothing where a recorder that lost its power left a
size of 0. Therefore the chunks are followed here as well.
"""

import os
import re
from collections.abc import Iterator
from itertools import islice
from struct import Struct
from typing import BinaryIO, NamedTuple

MAX_CHUNKS = 10_000  # before the sound; a file of zeros looks like any number of empty chunks
OPEN_32 = (  # sizes that a writer leaves behind which cannot seek back to write the true one, in bytes
    range(0x7EFF0000, 0x7F000009),  # SoX, AIFF: 0x7f000000, cut to whole frames
    range(0x7FFF0000, 0x80000001),  # SoX, wav: 0x7ffff000, cut to whole frames; arecord: 0x80000000
    range(0xFFFF0000, 0x100000000),  # ffmpeg: 0xffffffff
)
OPEN_64 = (range(1 << 62, 1 << 64),)  # ffmpeg: all bits set; no file is as long
EXTENDED = 0xFFFFFFFF  # size of a chunk of RF64 that is in its ds64 chunk
MP3_FRAME = 2048  # bytes at the start of an mp3, with the padding behind its tag and the head of its first frame
TAIL = 1 << 20  # bytes at the end of a file in which chunks may follow a sound of open size
MAX_TRAILERS = 1_000  # places in there that are tried
TRAILERS = re.compile(  # how the names of such chunks begin
    rb"LIST|id3 |bext|iXML|cue |smpl|inst|fact|PEAK|JUNK|PAD |umid|levl|afsp|_PMX|NAME|AUTH|ANNO|COMT|MARK|APPL", re.I
)


class Layout(NamedTuple):
    """Layout of the chunks of a container; numbers are bytes.

    Attributes:
        size: type of a size.
        name: length of a name.
        first: position of the first chunk.
        sound: how the name of the chunk with the sound begins.
        inner: between the head of that chunk and its sound.
        counted: of its head that the size of a chunk includes.
        align: chunks begin at multiples of it.
    """

    size: Struct
    name: int = 4
    first: int = 12
    sound: bytes = b"data"
    inner: int = 0
    counted: int = 0
    align: int = 2


LAYOUTS = {  # first bytes of a file -> layout
    b"RIFF": Layout(Struct("<I")),
    b"RIFX": Layout(Struct(">I")),
    b"RF64": Layout(Struct("<I")),
    b"FORM": Layout(Struct(">I"), sound=b"SSND", inner=8),  # AIFF, AIFC
    b"riff": Layout(Struct("<Q"), name=16, first=40, counted=24, align=8),  # W64
}


class SoundData(NamedTuple):
    """The sound in a file.

    Attributes:
        declared: bytes according to the header; None: left open by the writer.
        present: bytes to the end of the file; of an open size, to the chunks that follow.
        field: position of the declared size in the file.
        true_size: what that field would hold if it declared `present`.
    """

    declared: int | None
    present: int
    field: int
    true_size: bytes


def find_sound(file: BinaryIO) -> SoundData | None:
    """Follow the chunks of a wav (RIFF, RIFX, RF64), W64 or AIFF to the sound; None if they do not lead there."""
    layout = LAYOUTS.get(_read(file, 0, 4))
    if layout is None:
        return None
    ds64 = 0
    for name, body, _ in _chunks(file, layout, layout.first):
        if name.startswith(layout.sound):
            return _sound_data(file, layout, body, ds64)
        if name == b"ds64":
            ds64 = body
    return None


def _chunks(file: BinaryIO, layout: Layout, position: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content, and position of the next chunk, of each chunk from a position on."""
    end = _length(file)
    for _ in range(MAX_CHUNKS):
        if position > end:
            return
        name = _read(file, position, layout.name)
        body = position + layout.name + layout.size.size
        size = _number(file, body - layout.size.size, layout.size)
        if size is None:
            return
        position = body + max(0, size - layout.counted)
        position += -position % layout.align
        yield name, body, position


def _sound_data(file: BinaryIO, layout: Layout, body: int, ds64: int) -> SoundData:
    """Read the size of the sound: before `body`, or in the ds64 chunk at a position (0: there is none)."""
    kind, field = layout.size, body - layout.size.size
    if ds64 and _number(file, field, kind) == EXTENDED:
        kind, field = Struct("<Q"), ds64 + 8
    size = _number(file, field, kind) or 0
    end = _length(file)
    head = layout.counted + layout.inner  # of it, what the size includes besides the sound
    if size <= head:  # the recorder lost its power, unless there is no sound and other chunks follow
        is_open = not _ends_with_chunks(file, layout, body + max(0, size - layout.counted))
    else:
        is_open = any(size in sizes for sizes in (OPEN_32 if kind.size == 4 else OPEN_64))
        excess = body - layout.counted + size - end  # of a recorder that counts the header to the sound
        is_open |= excess in (body, body - 8) and _number(file, 4, layout.size) == end - 8  # that of the file is right
    stop = _end_of_sound(file, layout, body) if is_open else end
    present = max(0, stop - body - layout.inner)
    true_size = min(present + head, (1 << 8 * kind.size) - 1)
    return SoundData(None if is_open else max(0, size - head), present, field, kind.pack(true_size))


def _end_of_sound(file: BinaryIO, layout: Layout, body: int) -> int:
    """Return where a sound of open size ends: at chunks that lead exactly to the end of the file, or else there."""
    end = _length(file)
    start = max(body, end - TAIL)
    for match in islice(TRAILERS.finditer(_read(file, start, end - start)), MAX_TRAILERS):
        position = start + match.start()
        if position % layout.align == 0 and _ends_with_chunks(file, layout, position, most=100):
            return position
    return end


def _ends_with_chunks(file: BinaryIO, layout: Layout, position: int, most: int = MAX_CHUNKS) -> bool:
    """Return whether the chunks from a position on, at least one, lead exactly to the end of the file."""
    following = [position for *_, position in islice(_chunks(file, layout, position), most)]
    return bool(following) and following[-1] == _length(file)


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _number(file: BinaryIO, position: int, kind: Struct) -> int | None:
    content = _read(file, position, kind.size)
    return kind.unpack(content)[0] if len(content) == kind.size else None


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def mp3_tells_length(file: BinaryIO) -> bool:
    """Return whether the first frame of an mp3 counts its frames; without, libsndfile stops at an estimate."""
    tag = _read(file, 0, 10)
    size = 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False))
    start = size if tag[:3] == b"ID3" else 0
    return any(name in _read(file, start, MP3_FRAME) for name in (b"Xing", b"Info", b"VBRI"))


class Overlay:
    """A file to read in which the bytes from `position` on are replaced by `content`."""

    def __init__(self, file: BinaryIO, position: int, content: bytes) -> None:
        self.file, self.position, self.content = file, position, content
        self.seek, self.tell = file.seek, file.tell

    def readinto(self, buffer: bytearray) -> int:
        start = self.file.tell()
        count = self.file.readinto(buffer)  # type: ignore[attr-defined]  # the type of `open` has it
        for position, byte in enumerate(self.content, self.position - start):
            if 0 <= position < count:
                memoryview(buffer)[position] = byte
        return count
