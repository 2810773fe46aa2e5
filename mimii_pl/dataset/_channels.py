"""Channels of a recording as clips of their own, `dataset.channel=all`: `pump.wav#channel=2` names the third one."""

import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from mimii_pl.dataset._clip import Clip

Fusion = Literal["mean", "max"]
FUSIONS = get_args(Fusion)
ALL_CHANNELS = "all"
_MARK = re.compile(r"#channel=(\d{1,5})(?=$|#)")


def channel_path(path: Path, channel: int) -> Path:
    """Name a channel of a recording, counted from 0.

    >>> channel_path(Path("pump.wav"), 2).name
    'pump.wav#channel=2'
    """
    return Path(f"{path}#channel={channel}")


def split_channel(path: Path, channel: int | str = 0) -> tuple[Path, int | str]:
    """Return the file, and the channel to read of it: the one that its path names, or else `channel`.

    A file that has such a name itself is a whole one.

    >>> split_channel(Path("pump.wav#channel=2"), "all")
    (PosixPath('pump.wav'), 2)
    """
    match = next(reversed(list(_MARK.finditer(path.name))), None)
    if match is None or os.path.lexists(path):
        return path, channel
    return path.with_name(path.name[: match.start()] + path.name[match.end() :]), int(match[1])


def by_channel(clips: "Sequence[Clip]", counts: Sequence[object]) -> "list[Clip]":
    """Make a clip of each channel; those of a recording name it, so that a protocol keeps them in one split.

    Args:
        counts: number of channels of each; anything else: not known, the clip stays.
    """
    return [
        replace(clip, path=channel_path(clip.path, number), attributes={**clip.attributes, "recording": clip.recording})
        if isinstance(count, int)
        else clip
        for clip, count in zip(clips, counts, strict=True)
        for number in range(count if isinstance(count, int) else 1)
    ]


def fuse_channels(values: np.ndarray, owners: Sequence[Hashable], fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """Fuse the scores of the channels of each recording, [W, ...] -> [N, ...].

    Args:
        owners: recording of each of the W channels, in any order.
        fusion: `mean`, or `max`: one channel that hears a fault is enough.

    Returns:
        Fused scores, in the order in which recordings first occur, and the rows of their first channels [N].

    >>> fuse_channels(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"], "mean")
    (array([2., 5.]), array([0, 2]))
    """
    rows: dict[Hashable, list[int]] = {}
    for row, owner in enumerate(owners):
        rows.setdefault(owner, []).append(row)
    if len(rows) == len(owners):
        return values, np.arange(len(owners))
    over = np.mean if fusion == "mean" else np.max
    fused = np.stack([over(values[own], axis=0) for own in rows.values()])
    return fused, np.array([own[0] for own in rows.values()])
