"""Holding out normal clips for validation: by clip, ID by ID, the same ones for the same seed."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from mimii_pl.dataset._clip import Clip


class HeldOut:
    """Base of the protocols that hold out validation from the normal training clips.

    Args:
        validation: share of each ID's training clips held out, by clip.
        seed: which clips are held out.
    """

    def __init__(self, *, validation: float = 0.1, seed: int = 0) -> None:
        self.validation, self.seed = validation, seed


def hold_out(clips: list[Clip], share: float, seed: int) -> list[Clip]:
    """Move a share of the training clips of each machine ID to validation; one at least where an ID has two or more."""
    train = defaultdict(list)
    for row, clip in enumerate(clips):
        if clip.split == "train":
            train[clip.label].append(row)
    held: set[int] = set()
    for number, label in enumerate(sorted(train)):
        rows = np.random.default_rng([seed, number]).permutation(train[label])
        count = min(max(1, round(share * len(rows))), len(rows) - 1) if share else 0
        held.update(rows[:count].tolist())
    return [replace(clip, split="validation") if row in held else clip for row, clip in enumerate(clips)]
