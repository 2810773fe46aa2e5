"""Prune trials of a search: a Lightning callback around Optuna's pruners."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from omegaconf import DictConfig

from mimii_pl.core.addresses import without_password
from mimii_pl.core.errors import first_line
from mimii_pl.core.search_name import storage

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
Interim = Callable[[pl.Trainer, pl.LightningModule], float]


class TrialPruned(Exception):  # noqa: N818  (not an error, and always caught)
    """Raised when the pruner stops a trial."""


class Pruning(pl.Callback):
    """Report a trial's interim objective to Optuna every few epochs, and stop the trial when the pruner says so.

    Args:
        trial: Optuna's trial.
        interim: computes the objective with the current weights; higher is better.
        every: epochs between two reports.
    """

    def __init__(self, trial: "optuna.trial.Trial", interim: Interim, every: int) -> None:
        self.trial, self.interim, self.every = trial, interim, every
        self.is_cut_off = False  # the storage did not answer

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and raise `TrialPruned` in every process when the pruner says so."""
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every:
            return
        prune = self._try_to_report(trainer, pl_module) if trainer.is_global_zero else False
        if trainer.strategy.broadcast(prune):
            raise TrialPruned(f"pruned after {trainer.current_epoch + 1} epochs")

    def _try_to_report(self, trainer: pl.Trainer, detector: pl.LightningModule) -> bool:
        """Do `_report`; a storage that does not answer ends no training."""
        from optuna.exceptions import StorageInternalError

        try:
            return self._report(trainer, detector)
        except StorageInternalError as error:
            if not self.is_cut_off:
                reason = without_password(first_line(error.__cause__ or error))
                log.warning("the search's storage: %s: this trial goes on without it", reason)
            self.is_cut_off = True
            return False

    def _report(self, trainer: pl.Trainer, detector: pl.LightningModule) -> bool:
        reported = self.trial.study.trials[self.trial.number].intermediate_values
        if trainer.current_epoch not in reported:  # a resumed trial reports each epoch once
            self.trial.report(self.interim(trainer, detector), trainer.current_epoch)
        prune = self.trial.should_prune()
        if prune:
            self.trial.set_user_attr("pruned", trainer.current_epoch)
        return prune


def pruning(
    options: DictConfig, pruner: "optuna.pruners.BasePruner", run_dir: Path, interim: Interim
) -> Pruning | None:
    """Make the callback of a trial's run; None if the search has finished this trial.

    Args:
        options: `conf/sweep/_search.yaml`, with the number of the trial.
        pruner: Optuna's pruner.
        run_dir: of the trial, in the folder of the search.
        interim: computes the objective with the current weights; higher is better.
    """
    import optuna

    folder = run_dir.parent
    try:
        study = optuna.load_study(study_name=folder.name, storage=storage(options, folder), pruner=pruner)
    except Exception as error:  # of any library below Optuna: drivers, SQLAlchemy, Alembic
        log.warning("the search's storage: %s: this trial is not pruned", without_password(first_line(error)))
        return None
    if study.trials[options.trial].state is not optuna.trial.TrialState.RUNNING:
        return None  # resumed by hand, after the search had finished it
    trial = optuna.trial.Trial(study, study.trials[options.trial]._trial_id)
    return Pruning(trial, interim, options.look_every)
