"""Sweep callback: one parent run in MLflow, and a leaderboard at the end."""

import atexit
import math
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_table, write_text
from mimii_pl.core.trusted_classes import trusted_by
from mimii_pl.report.boards import anomaly_board, board_of, by_board
from mimii_pl.report.grid import to_latex, to_markdown
from mimii_pl.report.leaderboard import collect, group_of, leaderboard_columns, show_leaderboard
from mimii_pl.report.repeats import summarise, summary_columns

SWEEP_FILES = ("sweep.json", "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "summary.csv")


class Leaderboard(Callback):
    """Create the parent run of a sweep before its first run, and the leaderboard after its last."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
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
        sweep_dir = Path(config.hydra.sweep.dir)
        self.rows, others = collect(sweep_dir, trusted_by(config))
        rows = self.rows
        write_table(sweep_dir / "leaderboard.csv", rows, leaderboard_columns())
        if grids := [grid for board, listed in by_board(rows) for grid in board.grids(listed)]:
            write_text(sweep_dir / "leaderboard.md", "\n".join(map(to_markdown, grids)))
            tables = [to_latex(grid, f"tab:classifiers-{place}") for place, grid in enumerate(grids, start=1)]
            write_text(sweep_dir / "leaderboard.tex", "\n".join(tables))
        if repeated := summarise(rows):
            write_table(sweep_dir / "summary.csv", repeated, summary_columns(repeated))
        show_leaderboard(rows, others, sweep_dir, repeated)
        best = {
            "/".join(("best", *filter(None, group_of(row)), name)): row[name]
            for row in rows
            for name in ({board_of(row).criterion, "objective"} if row["rank"] == 1 else ())
            if math.isfinite(row[name])
        }
        failed = sum(outcome == "failed" for _, outcome, _ in others)
        self.recorder.add(metrics=best, tags={"failed": failed})
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        atexit.unregister(self._end)
        self.recorder.end(status)
