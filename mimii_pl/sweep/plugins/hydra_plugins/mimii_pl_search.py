"""Hydra takes sweepers from this package alone: the door to `mimii_pl.sweep`, whose libraries load when it is used."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


class Search(Sweeper):
    """Sweeper of `sweep=optuna`, `random` and `grid`.

    Args:
        params: option -> its values, in Hydra's syntax.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        from mimii_pl.sweep.search import OptunaSearch

        self.search = OptunaSearch(config.sweep, {**self.params, **config.sweep.space})
        self.search.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self.search.sweep(arguments)
