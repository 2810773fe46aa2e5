"""Sweep callback: one parent run in MLflow, and a leaderboard at the end."""

import atexit
import json
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.files import write_table, write_text
from mimii_pl.core.run_dir import parent_run_id
from mimii_pl.report.boards import anomaly_board, board_of, by_board
from mimii_pl.report.grid import to_latex, to_markdown
from mimii_pl.report.leaderboard import collect, group_of, leaderboard_columns, show_leaderboard
from mimii_pl.report.repeats import summarise, summary_columns


class Leaderboard(Callback):
    """Create the parent run of a sweep before its first run, and the leaderboard after its last."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        sweep_dir.mkdir(parents=True, exist_ok=True)
        self.parent = _open_parent(config, sweep_dir)
        write_text(sweep_dir / "sweep.json", json.dumps({"mlflow_run_id": self.parent and self.parent[1]}))
        atexit.register(self._end, "KILLED")  # an interrupted sweep never reaches its end

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        rows, others = collect(sweep_dir)
        write_table(sweep_dir / "leaderboard.csv", rows, leaderboard_columns())
        if grids := [grid for board, listed in by_board(rows) for grid in board.grids(listed)]:
            write_text(sweep_dir / "leaderboard.md", "\n".join(map(to_markdown, grids)))
            tables = [to_latex(grid, f"tab:classifiers-{place}") for place, grid in enumerate(grids, start=1)]
            write_text(sweep_dir / "leaderboard.tex", "\n".join(tables))
        if repeated := summarise(rows):
            write_table(sweep_dir / "summary.csv", repeated, summary_columns(repeated))
        show_leaderboard(rows, others, sweep_dir, repeated)
        if self.parent is None:
            return
        client, run_id = self.parent
        for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "summary.csv"):
            if (sweep_dir / name).is_file():
                client.log_artifact(run_id, str(sweep_dir / name))
        for row in rows:
            for name in {board_of(row).criterion, "objective"} if row["rank"] == 1 else ():
                if math.isfinite(row[name]):
                    client.log_metric(run_id, "/".join(("best", *filter(None, group_of(row)), name)), row[name])
        client.set_tag(run_id, "failed", sum(outcome == "failed" for _, outcome, _ in others))
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        atexit.unregister(self._end)
        if self.parent is not None:
            client, run_id = self.parent
            client.set_terminated(run_id, status)


def _open_parent(config: DictConfig, sweep_dir: Path) -> tuple[Any, str] | None:
    """Return MLflow's client and the ID of the parent run, which is reused if the directory has one.

    None without MLflow.
    """
    logger = OmegaConf.select(config, "trainer.logger")
    if not logger:
        return None
    from mimii_pl.tracking.logger import open_store

    experiment = open_store(logger.tracking_uri, logger.experiment_name)
    import mlflow

    client = mlflow.MlflowClient(logger.tracking_uri)
    if known := parent_run_id(sweep_dir):
        with suppress(mlflow.MlflowException):  # of another store, or deleted
            client.update_run(known, status="RUNNING")
            return client, known
    tags = {"overrides": " ".join(config.hydra.overrides.task), "selection": anomaly_board().note()}
    run = client.create_run(experiment, tags=tags, run_name=time.strftime("sweep %Y-%m-%d %H:%M"))
    return client, run.info.run_id
