"""Ends a hopeless trial of a search early: a Lightning callback around Optuna's pruners."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from omegaconf import DictConfig

from mimii_pl import _config
from mimii_pl.sweep._name import storage

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class Hopeless(Exception):  # noqa: N818
    """The trial is not worth going on with."""


class Pruning(pl.Callback):
    """Tells Optuna how a trial stands every few epochs, and ends it where the pruner sees no hope in it.

    Args:
        trial: of Optuna.
        standing: the objective with the weights as they are; higher is better.
        every: epochs from one look to the next.
    """

    def __init__(
        self, trial: "optuna.trial.Trial", standing: Callable[[pl.Trainer, pl.LightningModule], float], every: int
    ) -> None:
        self.trial, self.standing, self.every = trial, standing, every

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look, and raise `Hopeless` in every process where the pruner says so."""
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every:
            return
        hopeless = self._look(trainer, pl_module) if trainer.is_global_zero else False
        if trainer.strategy.broadcast(hopeless):
            raise Hopeless(f"ended after {trainer.current_epoch + 1} epochs")

    def _look(self, trainer: pl.Trainer, detector: pl.LightningModule) -> bool:
        known = self.trial.study.trials[self.trial.number].intermediate_values
        if trainer.current_epoch not in known:  # a trial that is gone on with reports its epochs once
            self.trial.report(self.standing(trainer, detector), trainer.current_epoch)
        hopeless = self.trial.should_prune()
        if hopeless:
            self.trial.set_user_attr("pruned", trainer.current_epoch)
        return hopeless


def pruning(cfg: DictConfig) -> Pruning | None:
    """The callback of this run; None where it is no trial, or none is ended early."""
    options = cfg.get("sweep")
    if options is None or options.trial is None or options.pruner is None:
        return None
    if cfg.backend is not None and cfg.objective != "loss":
        log.info("backend=%s judges when training is over: no trial is ended early", cfg.choices.backend)
        return None
    import optuna

    from mimii_pl._objective import standing

    folder = Path(cfg.run_dir).parent
    study = optuna.load_study(
        study_name=folder.name, storage=storage(options, folder), pruner=_config.build(options.pruner)
    )
    if study.trials[options.trial].state is not optuna.trial.TrialState.RUNNING:
        return None  # gone on with by hand, after the search had done with it
    trial = optuna.trial.Trial(study, study.trials[options.trial]._trial_id)
    return Pruning(trial, lambda trainer, detector: standing(cfg, trainer, detector), options.look_every)
