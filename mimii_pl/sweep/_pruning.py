"""Ends a hopeless trial of a search early: a Lightning callback around Optuna's pruners."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from omegaconf import DictConfig

from mimii_pl import _config
from mimii_pl.sweep._name import storage

if TYPE_CHECKING:
    import optuna


class Hopeless(Exception):  # noqa: N818
    """The trial is not worth going on with."""


class Pruning(pl.Callback):
    """Tells Optuna the validation loss of each epoch, and ends the trial where the pruner sees no hope in it.

    Losses are reported with their sign changed: searches maximise.

    Args:
        trial: of Optuna.
    """

    def __init__(self, trial: "optuna.trial.Trial") -> None:
        self.trial = trial

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and raise `Hopeless` in every process where the pruner says so."""
        loss, epoch = trainer.callback_metrics.get("val/loss"), trainer.current_epoch
        if loss is None or trainer.sanity_checking:
            return
        hopeless = trainer.is_global_zero and self._hopeless(-float(loss), epoch)
        if trainer.strategy.broadcast(hopeless):
            raise Hopeless(f"ended after {epoch + 1} epochs: validation loss {float(loss):.4g}")

    def _hopeless(self, value: float, epoch: int) -> bool:
        known = self.trial.study.trials[self.trial.number].intermediate_values
        if epoch not in known:  # a trial that is gone on with reports its epochs once
            self.trial.report(value, epoch)
        hopeless = self.trial.should_prune()
        if hopeless:
            self.trial.set_user_attr("pruned", epoch)
        return hopeless


def pruning(cfg: DictConfig) -> Pruning | None:
    """The callback of this run; None where it is no trial, or none is ended early."""
    options = cfg.get("sweep")
    if options is None or options.trial is None or options.pruner is None:
        return None
    import optuna

    pruner = _config.build(options.pruner)
    folder = Path(cfg.run_dir).parent
    study = optuna.load_study(study_name=folder.name, storage=storage(options, folder), pruner=pruner)
    return Pruning(optuna.trial.Trial(study, study.trials[options.trial]._trial_id))
