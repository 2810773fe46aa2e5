"""Base class of the detectors that are fitted in one pass over the training clips, without gradients."""

from typing import Any

import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector


class TrainingFree(Detector):
    """Base class of the detectors that see the training clips exactly once.

    A subclass implements `observe`, which collects from a batch of training clips, `finish_fit`, which turns the
    collected values into buffers after the pass, and `score`. Embeddings, if there are any, do not depend on what was
    collected: a back end is fitted to those of all normal clips, also of the held-out ones.
    """

    training_free = True

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def observe(self, batch: Batch) -> None:
        """Collect from a batch of normal training clips."""
        raise NotImplementedError

    def finish_fit(self) -> None:
        """Turn the collected values into buffers."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Compute the mean score. The checkpoint callback needs a loss, although there is only one checkpoint."""
        return self.score(batch).mean()

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError(f"model={self.name} has no weights to train: use one process (trainer=default)")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        with torch.no_grad():
            self.observe(batch)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.step()  # changes nothing: Lightning counts steps, and saves no checkpoint before the first

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.is_last_batch:  # before validation
            self.finish_fit()
            self.trainer.should_stop = True  # a second pass would add nothing

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return _NoOptimizer()


class _NoOptimizer(torch.optim.Optimizer):
    """Optimizer that changes nothing; the methods of any other import torch's compiler, which takes a second."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.param_groups.append(param_group)

    def step(self, closure: Any = None) -> Any:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class Deviation(TrainingFree):
    """Base of the detectors whose own score is the mean squared deviation of embeddings from those of training clips.

    It is counted in standard deviations of each value. A subclass implements `embed` and calls `build_deviation`.
    """

    one_thread_per_batch = True
    mean: Tensor
    std: Tensor

    def build_deviation(self, width: int) -> None:
        """Make the buffers for embeddings of `width` values."""
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.sums = torch.zeros(3, width, dtype=torch.float64)  # count, sum, sum of squares

    def observe(self, batch: Batch) -> None:
        values = self.embed(batch).flatten(0, -2).double()
        self.sums[0] += len(values)
        self.sums[1] += values.sum(dim=0).cpu()
        self.sums[2] += values.square().sum(dim=0).cpu()

    def finish_fit(self) -> None:
        count, total, squares = self.sums
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=0).sqrt())
        self.sums.zero_()

    def score(self, batch: Batch) -> Tensor:
        floor = 1e-3 * self.std.max() + 1e-9  # so that a value that never varied does not dominate
        deviation = (self.embed(batch) - self.mean) / self.std.clamp(min=floor)
        return deviation.square().flatten(1).mean(dim=1)
