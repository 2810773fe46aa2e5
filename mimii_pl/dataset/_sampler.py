"""Which clips, and which part of each, make up a training batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Crop(NamedTuple):
    """How much of a clip a detector asks for at a time.

    Attributes:
        frames: frames in one crop.
        tile: False: one crop per clip and epoch, at a random place. True: crops, a random shift apart, that cover the
            clip once per epoch and are shuffled over all clips, so that each batch mixes as many clips as it can.
        overlap: frames two neighbouring tiles share (a window of n frames needs n - 1).
        within: first and last + 1 frame of the clip that crops may touch; None: all.
    """

    frames: int
    tile: bool = False
    overlap: int = 0
    within: tuple[int, int] | None = None

    def room(self, frames: int) -> tuple[int, int]:
        """First frame that may be touched in a clip of `frames` frames, and how many there are."""
        start, stop = self.within or (0, frames)
        return start, min(stop, frames) - start


class TrainSampler(Sampler):
    """Batches of (row, first frame) pairs, reshuffled each epoch by (seed, epoch) alone, so that a run can resume.

    First frame is -1 for whole clips. With several processes, each takes every `world`-th batch of the same list,
    which is filled up from its start to a multiple of `world`.
    """

    def __init__(
        self,
        rows: np.ndarray,
        frames: int,
        crop: Crop | None,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows, self.crop = np.asarray(rows), crop
        self.start, self.frames = crop.room(frames) if crop else (0, frames)
        self.batch_size, self.seed, self.rank, self.world, self.epoch = batch_size, seed, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    @property
    def crops_per_clip(self) -> int:
        """Training items that one clip gives in an epoch."""
        if self.crop is None or not self.crop.tile:
            return 1
        return max(1, (self.frames - self.crop.overlap) // (self.crop.frames - self.crop.overlap))

    def __len__(self) -> int:
        return -(-len(self.rows) * self.crops_per_clip // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([self.seed, self.epoch])
        items = np.stack([np.repeat(self.rows, self.crops_per_clip), self._first_frames(rng).ravel()], axis=1)
        items = rng.permutation(items)
        if self.world > 1:
            items = np.resize(items, (len(self) * self.world * self.batch_size, 2))
        for batch in range(self.rank, len(self) * self.world, self.world):
            yield items[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _first_frames(self, rng: np.random.Generator) -> np.ndarray:
        """First frame of every crop, [rows, crops per clip]."""
        shape = (len(self.rows), self.crops_per_clip)
        if self.crop is None:
            return np.full(shape, -1)
        step = self.crop.frames - self.crop.overlap
        slack = self.frames - self.crop.frames - (self.crops_per_clip - 1) * step  # frames left over by the tiling
        shift = self.start + rng.integers(0, slack, (len(self.rows), 1), endpoint=True)
        return shift + step * np.arange(self.crops_per_clip)
