"""Lightning callbacks of every run: losses kept as a table, random numbers that depend on seed and epoch alone."""

import csv
import io
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from mimii_pl._run_dir import write_text


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
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([("epoch", "metric", "value"), *self.rows])
            write_text(self.path, text.getvalue())

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict) -> None:
        self.rows = [tuple(row) for row in state_dict["rows"]]


class EpochClock(pl.Callback):
    """Mean wall time of an epoch, validation included."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times.append(time.perf_counter() - self.started)

    @property
    def seconds_per_epoch(self) -> float:
        """Seconds; 0 where nothing was trained."""
        return sum(self.times) / max(1, len(self.times))


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
