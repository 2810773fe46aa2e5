"""Which clips, and which part of each, make up a training batch."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from mimii_pl.dataset._clip import Crop


class TrainSampler(Sampler):
    """Batches of (row, first frame) pairs, reshuffled each epoch by (seed, epoch) alone, so that a run can resume.

    First frame is -1 for whole clips. Several processes share what a single one would take as a batch `world` times as
    large; so they do what is left over at the end, and `share` says how much each one's part counts.
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
        step = self.batch_size * self.world
        for together in (items[start : start + step] for start in range(0, len(items), step)):
            own = np.array_split(together, self.world)[self.rank]
            yield own if len(own) else together[:1]  # no process may be without a batch

    def share(self, batch: int) -> float:
        """Weight of the loss of this process's batch, by its number: the mean over processes is that over all items.

        1 where all have as many; 0 for a batch that is there to take part only.
        """
        step = self.batch_size * self.world
        together = min(step, len(self.rows) * self.crops_per_clip - batch * step)
        own = together // self.world + (self.rank < together % self.world)
        return own * self.world / together

    def _first_frames(self, rng: np.random.Generator) -> np.ndarray:
        """First frame of every crop, [rows, crops per clip]."""
        shape = (len(self.rows), self.crops_per_clip)
        if self.crop is None:
            return np.full(shape, -1)
        step = self.crop.frames - self.crop.overlap
        slack = self.frames - self.crop.frames - (self.crops_per_clip - 1) * step  # frames left over by the tiling
        shift = self.start + rng.integers(0, slack, (len(self.rows), 1), endpoint=True)
        return shift + step * np.arange(self.crops_per_clip)
