"""A package of a user's own: a task, and detectors with an error in their code."""

from typing import Any

from mimii_pl.model.dense_ae import DenseAE
from mimii_pl.task.anomaly import Anomaly


class OwnTask(Anomaly):
    """A task like ours."""


class OwnDetector(DenseAE):
    """A detector like ours."""


class FailsWhenBuilt(DenseAE):
    """Its constructor has an error."""

    def __init__(self, in_shape: tuple[int, int, int], n_ids: int, **options: Any) -> None:
        super().__init__(in_shape, n_ids, **options)
        self.width += "wide"  # type: ignore[operator]


class FailsOnWeights(DenseAE):
    """What it does with its weights has an error."""

    def load_state_dict(self, state_dict: Any, *args: Any, **options: Any) -> Any:
        return super().load_state_dict(state_dict + 1, *args, **options)


class FailsOnResuming(DenseAE):
    """What it does with a checkpoint of its training has an error."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch"] + "one"
