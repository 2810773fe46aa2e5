"""Recordings that are copies of one another: a protocol must not learn from one and judge by the other."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mimii_pl.core.foreign import printable
from mimii_pl.dataset._clip import Clip

log = logging.getLogger(__name__)


def group_copies(clips: Sequence[Clip], digests: Sequence[str]) -> list[Clip]:
    """Make copies clips of one recording, which protocols keep in one split.

    Args:
        digests: of the samples of each clip.
    """
    first: dict[str, str] = {}  # recording -> one that it is joined with

    def root(recording: str) -> str:
        while (joined := first.get(recording, recording)) != recording:
            recording = joined
        return recording

    seen: dict[str, Clip] = {}
    copies: list[tuple[Clip, Clip]] = []
    for clip, digest in zip(clips, digests, strict=True):
        original = seen.setdefault(digest, clip)
        if original is not clip:
            copies.append((original, clip))
            first[root(clip.recording)] = root(original.recording)
    if not copies:
        return list(clips)
    log.warning("%d clips are copies of others, kept in one split: %s", len(copies), _named(*copies[0]))
    contradicting = [pair for pair in copies if len({(clip.condition, clip.label) for clip in pair}) > 1]
    if contradicting:
        text = "%d copies have another condition or machine ID than their originals: %s"
        log.warning(text, len(contradicting), _named(*contradicting[0]))
    return [
        clip
        if (recording := root(clip.recording)) == clip.recording
        else replace(clip, attributes={**clip.attributes, "recording": recording})
        for clip in clips
    ]


def _named(original: Clip, copy: Clip) -> str:
    return f"{printable(original.name)} and {printable(copy.name)}"


def name_copies(clips: Sequence[Clip], digests: Sequence[str]) -> None:
    """Warn of a clip that is on both sides of a split, as a data set's own split may have it."""
    splits: dict[str, dict[str, Clip]] = defaultdict(dict)
    for clip, digest in zip(clips, digests, strict=True):
        splits[digest].setdefault(clip.split, clip)
    learned = [found for found in splits.values() if found.keys() & {"train", "validation"} and len(found) > 1]
    if learned:
        pair = " and ".join(f"{printable(clip.name)} ({split})" for split, clip in list(learned[0].items())[:2])
        log.warning("%d clips are in two splits with the same sound, as the data set has it: %s", len(learned), pair)
