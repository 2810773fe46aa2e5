"""Lightning callbacks of every run: losses kept as a table, random numbers that depend on seed and epoch alone."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from mimii_pl.core.files import write_csv


class History(pl.Callback):
    """Writes every epoch's losses and metrics to `history.csv` (columns: epoch, metric, value).

    Args:
        path: the file; it is rewritten whole, so that it is never half written.
    """

    def __init__(self, path: str) -> None:
        self.path, self.rows = Path(path), []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows += [(trainer.current_epoch, name, float(value)) for name, value in trainer.callback_metrics.items()]
        if trainer.is_global_zero:
            write_csv(self.path, ("epoch", "metric", "value"), self.rows)

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict) -> None:
        self.rows = [tuple(row) for row in state_dict["rows"]]


class Stopwatch(pl.Callback):
    """Wall time of training, validation and checkpoints included, and how many epochs it took.

    Kept in checkpoints: a resumed run goes on counting, and what an interruption threw away does not count. It stands
    before the callback that writes them.
    """

    def __init__(self) -> None:
        self.seconds, self.epochs = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_end(trainer, pl_module)
        self.epochs += 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        self.seconds, self.since = self.seconds + now - self.since, now

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds, self.epochs = state_dict["seconds"], state_dict["epochs"]


class SeedEachEpoch(pl.Callback):
    """Seeds torch by (seed, epoch, process), so that a resumed run draws what an uninterrupted one would have drawn.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning leaves out in the first epoch of a resumed run

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed((self.seed * 10_007 + trainer.current_epoch) * 1_009 + trainer.global_rank)
