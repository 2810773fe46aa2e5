"""Record a run in MLflow: its parameters at the start, its results and files at the end."""

import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.loggers import MLFlowLogger

from mimii_pl.core.databases import sqlite_path
from mimii_pl.core.errors import InputError, first_line
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.report.cost import COSTS
from mimii_pl.scoring.results import Result
from mimii_pl.tracking.store import ELSEWHERE, open_client

ARTIFACTS = (
    "config.yaml",
    "run.json",
    "scores.csv",
    "results.csv",
    "history.csv",
    "skipped.csv",
    "report.html",
    "features.npz",
    "backend.npz",
    "thresholds.json",
    "identified.csv",
    "predictions.csv",
)


class RunLogger(MLFlowLogger):
    """Lightning's MLflow logger, which also creates the store.

    Args:
        tracking_uri: of the store; artifacts of a local SQLite database are kept next to it.
        experiment_name: experiment of all runs.
        run_name: name of the run; None: `<model>-<machine>`.
    """

    def __init__(self, *, tracking_uri: str, experiment_name: str = "mimii_pl", run_name: str | None = None) -> None:
        self.tracking_uri, self.run_name = tracking_uri, run_name
        open_store(tracking_uri, experiment_name)
        super().__init__(experiment_name, run_name=run_name, tracking_uri=tracking_uri)

    def continue_run(self, run_id: str) -> None:
        """Record into an existing MLflow run."""
        self._run_id = run_id


def open_store(tracking_uri: str, experiment_name: str) -> str:
    """Create the store and the experiment if they are missing, and return the experiment's ID.

    Raises:
        InputError: the store cannot be opened, or does not take the experiment.
    """
    path = sqlite_path(tracking_uri)
    location = (path.parent / "artifacts").as_uri() if path else None
    from mlflow.exceptions import MlflowException

    client = open_client(tracking_uri)
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        try:
            return client.create_experiment(experiment_name, location)
        except MlflowException as error:  # another process of the sweep may have created it in the meantime
            experiment = client.get_experiment_by_name(experiment_name)
            if experiment is None:
                raise InputError(f"{tracking_uri}: {first_line(error)}. {ELSEWHERE}") from None
    return experiment.experiment_id


class RunDescription(NamedTuple):
    """Record of a run at its start: name, tags, parameters, and the ID of the parent run of its sweep."""

    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    parent: str | None = None


class Recorder:
    """Record a run in MLflow: RUNNING at its start, FINISHED, FAILED or KILLED at its end; do nothing without MLflow.

    Args:
        logger: `RunLogger`; with any other logger, or none, the run is not recorded.
        run_dir: directory of the run; run.json keeps MLflow's ID of the run.
        description: None for a run that has been recorded before.
    """

    def __init__(self, logger: Any, run_dir: Path, description: RunDescription | None = None) -> None:
        self.logger = logger if isinstance(logger, RunLogger) else None
        self.run_dir, self.description = run_dir, description

    def start(self) -> None:
        """Open an MLflow run, or continue the one of this run directory."""
        if self.logger is None:
            return
        known = read_facts(self.run_dir).get("mlflow_run_id")
        if known:
            self.logger.continue_run(known)
        if self.description is None:
            return
        client, run_id = self.logger.experiment, self.logger.run_id
        tags = {"mlflow.runName": self.logger.run_name or self.description.name, **self.description.tags}
        if self.description.parent:
            tags["mlflow.parentRunId"] = self.description.parent
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        if not known:
            self.logger.log_hyperparams(self.description.params)
        write_facts(self.run_dir, mlflow_run_id=run_id)

    def finish(self, results: Iterable[Result], criteria: Mapping[str, float]) -> None:
        """Record metrics and files, and end the run as FINISHED. Undefined metrics are skipped.

        Args:
            results: of the test clips.
            criteria: numbers computed from held-out clips, by name.
        """
        if self.logger is None:
            return
        from mlflow.entities import Metric

        facts = read_facts(self.run_dir)
        named = _test_metrics(list(results)) | {f"val/{name}": value for name, value in criteria.items()}
        named |= {f"efficiency/{name}": facts[name] for name in COSTS if name in facts}
        now = int(time.time() * 1000)
        client, run_id = self.logger.experiment, self.logger.run_id
        metrics = [Metric(name, value, now, 0) for name, value in named.items() if math.isfinite(value)]
        client.log_batch(run_id, metrics=metrics)
        for name in ARTIFACTS:
            if (self.run_dir / name).is_file():
                client.log_artifact(run_id, str(self.run_dir / name))
        client.log_artifact(run_id, str(self.run_dir / facts["checkpoint"]), "checkpoints")
        client.set_terminated(run_id, "FINISHED")

    def end(self, status: str) -> None:
        """End the run as `FAILED` or `KILLED`."""
        if self.logger is not None:
            end_run(self.run_dir, self.logger.tracking_uri, status)


def end_run(run_dir: Path, tracking_uri: str, status: str) -> None:
    """End the MLflow run of a run directory, if it has one, as `FAILED` or `KILLED`."""
    if run_id := read_facts(run_dir).get("mlflow_run_id"):
        import mlflow

        mlflow.MlflowClient(tracking_uri).set_terminated(run_id, status)


def _test_metrics(results: list[Result]) -> dict[str, float]:
    several = len({result.machine for result in results}) > 1
    return {
        f"test/{r.metric}/{r.machine + '/' if several else ''}{_metric_name(r.id)}": r.value
        for r in results
        if not r.metric.startswith("n_") and r.metric != "n"
    }


def _metric_name(name: str) -> str:
    """Replace the characters that MLflow does not allow in the name of a metric, since classes may have any name."""
    return re.sub(r"[^\w\-. /]", "_", name)
