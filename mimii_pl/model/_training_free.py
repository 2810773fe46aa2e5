"""Detectors without weights: one pass over the training clips is all they learn."""

import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector


class TrainingFree(Detector):
    """Base of the detectors that only look at the training clips once.

    A subclass implements `observe`, which takes note of a batch of training clips, `conclude`, which turns the notes
    into buffers after the pass, and `score`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def observe(self, batch: Batch) -> None:
        """Take note of normal training clips."""
        raise NotImplementedError

    def finish_fit(self) -> None:
        """Turn the notes into buffers."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Mean score: what the choice of a checkpoint needs, though there is one only."""
        return self.score(batch).mean()

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError(f"model={self.name} has nothing to train: use one process (trainer=default)")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        with torch.no_grad():
            self.observe(batch)
        self.optimizers().step()  # moves nothing: Lightning counts steps, and saves no checkpoint before the first

    def on_train_batch_end(self, *_) -> None:
        if self.trainer.is_last_batch:  # before validation
            self.finish_fit()
            self.trainer.should_stop = True  # there is nothing to learn in a second pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0)
