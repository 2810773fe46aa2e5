"""Hold clips out by recording, for each machine ID, the same ones for the same seed."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mimii_pl.dataset._clip import Clip, Split


class Protocol:
    """Base of all protocols."""

    def __call__(self, clips: list[Clip]) -> list[Clip]:
        """Return the clips that take part, each with its split."""
        raise NotImplementedError


class HeldOut(Protocol):
    """Base of the protocols that hold out validation clips from the normal training clips.

    Args:
        validation: share of each ID's training clips held out.
        seed: which clips are held out.
    """

    def __init__(self, *, validation: float = 0.1, seed: int = 0) -> None:
        self.validation, self.seed = validation, seed


def hold_out(clips: Sequence[Clip], share: float, seed: int) -> list[Clip]:
    """Move a share of each machine ID's training clips to validation; at least one where an ID has two or more.

    Clips of one recording stay together. If the data set itself names validation clips, these are used unchanged.
    """
    if any(clip.split == "validation" for clip in clips):
        return list(clips)
    train = [row for row, clip in enumerate(clips) if clip.split == "train"]
    return moved(clips, draw(clips, train, share, seed), "validation")


def draw(clips: Sequence[Clip], rows: Iterable[int], share: float, seed: int, salt: Sequence[int] = ()) -> set[int]:
    """Draw a share of these rows for each ID: whole recordings, at least one but never all if an ID has two or more.

    Where recordings have different numbers of clips, neither more than the share of the recordings is drawn, nor one
    with more clips than the share.
    """
    drawn: set[int] = set()
    for number, (_, of_id) in enumerate(sorted(by_id(clips, rows).items())):
        recordings = by_recording(clips, of_id)
        count = max(1, round(share * len(of_id))) if share else 0
        order = np.random.default_rng([seed, number, *salt]).permutation(len(recordings))
        limit = max(count, min(map(len, recordings)))  # a recording of hours would take far more than the share
        fitting = [index for index in order if len(recordings[index]) <= limit]
        most = min(math.ceil(share * len(recordings)), len(recordings) - 1)  # one recording stays
        chosen: list[int] = []
        for index in fitting[:most]:
            if len(chosen) >= count:
                break
            chosen += recordings[index]
        drawn.update(chosen)
    return drawn


def by_id(clips: Sequence[Clip], rows: Iterable[int]) -> dict[str, list[int]]:
    """Group rows by machine type and ID."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        groups[clips[row].label].append(row)
    return groups


def by_recording(clips: Sequence[Clip], rows: Iterable[int]) -> list[list[int]]:
    """Group rows by recording, in the order in which recordings first occur."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        groups[clips[row].recording].append(row)
    return list(groups.values())


def moved(clips: Sequence[Clip], rows: set[int], split: Split) -> list[Clip]:
    """Return the clips, with those of these rows moved to another split."""
    return [replace(clip, split=split) if row in rows else clip for row, clip in enumerate(clips)]


def split_clips(clips: Sequence[Clip]) -> tuple[list[Clip], list[int], list[int], list[int]]:
    """Sort clips by path, clear their splits and group their rows.

    Returns:
        The clips; rows of normal clips that may be trained on; rows of anomalies; rows of clips that can only be
        tested: of unknown condition, or normal and cut from a recording with an anomaly.
    """
    clips = [replace(clip, split="") for clip in sorted(clips, key=lambda clip: clip.place)]
    anomalous = {clip.recording for clip in clips if clip.condition == "anomaly"}
    normal, anomaly, rest = [], [], []
    for row, clip in enumerate(clips):
        if clip.condition == "anomaly":
            anomaly.append(row)
        elif clip.condition == "normal" and clip.recording not in anomalous:
            normal.append(row)
        else:
            rest.append(row)
    return clips, normal, anomaly, rest
