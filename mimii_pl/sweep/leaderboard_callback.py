"""Sweep callback: one parent run in MLflow, and a leaderboard at the end.

Every command builds it, so it imports what a sweep needs when a sweep begins or ends.
"""

import atexit
import math
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable
from mimii_pl.core.trusted_classes import trusted_by

SWEEP_FILES = ("sweep.json", "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "summary.csv")


class Leaderboard(Callback):
    """Create the parent run of a sweep before its first run, and the leaderboard after its last."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from mimii_pl.report.boards import anomaly_board
        from mimii_pl.tracking.sweep_recorder import begin_sweep

        sweep_dir = Path(config.hydra.sweep.dir)
        try:
            require_writable(sweep_dir, "hydra.sweep.dir=<another folder>", SWEEP_FILES)
        except InputError as error:
            sys.exit(f"error: {error}")  # Hydra makes a warning of an error in a callback
        tags = {"overrides": " ".join(config.hydra.overrides.task), "selection": anomaly_board().note()}
        self.recorder = begin_sweep(sweep_dir, OmegaConf.select(config, "trainer.logger"), tags)
        atexit.register(self._end, "KILLED")  # an interrupted sweep never reaches its end

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from mimii_pl.report.boards import board_of
        from mimii_pl.report.leaderboard import group_of
        from mimii_pl.sweep.leaderboards import write_leaderboards

        self.rows, failed = write_leaderboards(Path(config.hydra.sweep.dir), trusted_by(config))
        best = {
            "/".join(("best", *filter(None, group_of(row)), name)): row[name]
            for row in self.rows
            for name in ({board_of(row).criterion, "objective"} if row["rank"] == 1 else ())
            if math.isfinite(row[name])
        }
        self.recorder.add(metrics=best, tags={"failed": failed})
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        atexit.unregister(self._end)
        self.recorder.end(status)
