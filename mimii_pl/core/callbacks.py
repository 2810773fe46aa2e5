"""Lightning callbacks of every run: history.csv, wall time, one random seed per epoch."""

import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from mimii_pl.core.files import write_csv


class History(pl.Callback):
    """Callback that writes the losses and metrics of every epoch to `history.csv` (columns: epoch, metric, value).

    Args:
        path: the file; it is rewritten atomically after every epoch.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[tuple[int, str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows += [(trainer.current_epoch, name, float(value)) for name, value in trainer.callback_metrics.items()]
        if trainer.is_global_zero:
            write_csv(self.path, ("epoch", "metric", "value"), self.rows)

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict) -> None:
        self.rows = [tuple(row) for row in state_dict["rows"]]


class Stopwatch(pl.Callback):
    """Callback that measures the wall time of training, with validation and checkpoints, in seconds, and counts epochs.

    Its state is part of the checkpoints: a resumed run continues the count, and work lost to an interruption is not
    counted. It must come before the callback that writes them.
    """

    def __init__(self) -> None:
        self.seconds, self.epochs = 0.0, 0
        self.started = False  # False: a checkpoint is still being restored

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = True
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
    """Callback that seeds torch by (seed, epoch, process): a resumed run draws the numbers of an uninterrupted one.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # Lightning skips it in the first epoch of a resumed run

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed((self.seed * 10_007 + trainer.current_epoch) * 1_009 + trainer.global_rank)
