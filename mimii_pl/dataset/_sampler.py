"""Sampling of training batches: clips, and the crop of each."""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from mimii_pl.dataset._clip import Crop


class TrainSampler(Sampler):
    """Batches of (row, first frame) pairs, shuffled anew each epoch by (seed, epoch) alone, so that a run can resume.

    The first frame is -1 for whole clips. Several processes divide batches `world` times as large, the incomplete last
    one included; `share` weights their parts.
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
        """Set the epoch; Lightning calls it before each one."""
        self.epoch = epoch

    @property
    def crops_per_clip(self) -> int:
        """Number of training items per clip and epoch."""
        if self.crop is None or not self.crop.tile:
            return 1
        return max(1, (self.frames - self.crop.overlap) // (self.crop.frames - self.crop.overlap))

    def __len__(self) -> int:
        return math.ceil(len(self.rows) * self.crops_per_clip / (self.batch_size * self.world))

    def __iter__(self) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([self.seed, self.epoch])
        items = np.stack([np.repeat(self.rows, self.crops_per_clip), self._first_frames(rng).ravel()], axis=1)
        items = rng.permutation(items)
        step = self.batch_size * self.world
        for start in range(0, len(items), step):
            joint = items[start : start + step]  # batch of all processes
            own = np.array_split(joint, self.world)[self.rank]
            yield own if len(own) else joint[:1]  # every process needs a batch

    def share(self, batch: int) -> float:
        """Weight the loss of this process's batch, so that the mean over processes is the mean over all items.

        1 where all processes have equally many items; 0 for a batch without an item of its own.

        Args:
            batch: number of the batch in the epoch.
        """
        step = self.batch_size * self.world
        joint = min(step, len(self.rows) * self.crops_per_clip - batch * step)
        own = joint // self.world
        if self.rank < joint % self.world:
            own += 1
        return own * self.world / joint

    def _first_frames(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the first frame of every crop, [rows, crops per clip]."""
        shape = (len(self.rows), self.crops_per_clip)
        if self.crop is None:
            return np.full(shape, -1)
        step = self.crop.frames - self.crop.overlap
        slack = self.frames - self.crop.frames - (self.crops_per_clip - 1) * step  # frames that the tiles do not cover
        shift = self.start + rng.integers(0, slack, (len(self.rows), 1), endpoint=True)
        return shift + step * np.arange(self.crops_per_clip)
