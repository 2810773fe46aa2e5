"""Decode clips in order: many recordings ahead in threads, a divided one block by block."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from mimii_pl.core.prefetch import prefetch, read_ahead
from mimii_pl.dataset import _audio
from mimii_pl.dataset._stream import Streamed, stream

PARTS_AHEAD = 8  # clips of a divided recording that are decoded ahead of the writer


class Ruined(NamedTuple):
    """A divided recording that turned out to be unusable: the number of its clips, and the reason."""

    clips: int
    reason: _audio.UnreadableClip


Outcome = _audio.Excerpt | _audio.UnreadableClip | Ruined


def decoded(
    paths: Sequence[Path],
    starts: Sequence[float | None],
    hop: int,
    options: dict[str, Any],
    first: int = 0,
    *,
    ahead: int,
) -> Iterator[tuple[int, Outcome]]:
    """Yield the number of each clip from a first one on, with its samples, or the reason why it cannot be used.

    Args:
        paths, starts: of the clips, see `build_cache`.
        hop: samples from a clip of a divided recording to the next.
        options: of `_audio.read`.
        first: number of the first clip that is wanted.
        ahead: recordings decoded ahead of the consumer: bounds the memory.
    """

    def decode(clip: int) -> tuple[int, Outcome]:
        try:
            return clip, _audio.read(paths[clip], **options)
        except _audio.UnreadableClip as reason:
            return clip, reason

    for whole, clips in _groups(paths, starts):
        if clips[-1] < first:
            continue
        if whole:
            yield from prefetch(decode, [clip for clip in clips if clip >= first], depth=ahead)
        else:
            yield from _parts(paths[clips[0]], clips, hop, options, max(0, first - clips[0]))


def _groups(paths: Sequence[Path], starts: Sequence[float | None]) -> Iterator[tuple[bool, list[int]]]:
    """Yield the numbers of clips that are decoded together: whole recordings (True), or the parts of one (False)."""
    number = 0  # of the recording, as a list may name a file twice

    def key(clip: int) -> int:
        nonlocal number
        start, before = starts[clip], starts[clip - 1] if clip else None
        follows = before is not None and start is not None and start > before and paths[clip] == paths[clip - 1]
        if not follows and not (start is None and before is None):
            number += 1
        return number

    for _, group in groupby(range(len(paths)), key):
        clips = list(group)
        yield starts[clips[0]] is None, clips


def _parts(
    path: Path, clips: Sequence[int], hop: int, options: dict[str, Any], skip: int
) -> Iterator[tuple[int, Outcome]]:
    """Yield the clips of a divided recording; if it cannot be read to its end, its first clip is `Ruined`."""
    number, seconds = skip, options["samples"] / options["sample_rate"]
    try:
        for part in read_ahead(stream(path, hop=hop, skip=skip, **options), depth=PARTS_AHEAD):
            if isinstance(part, Streamed):
                break
            if number == len(clips):
                raise _audio.UnreadableClip("longer than its header declares")
            outcome = part.fault if part.wave is None else _audio.Excerpt(part.wave, seconds)
            assert outcome is not None
            yield clips[number], outcome
            number += 1
        if number < len(clips):
            raise _audio.UnreadableClip("shorter than its header declares")
    except _audio.UnreadableClip as reason:
        yield clips[0], Ruined(len(clips), reason)
