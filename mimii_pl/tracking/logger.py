"""A run in MLflow: where it is recorded, what is recorded at its start and at its end."""

import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.loggers import MLFlowLogger

from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.report.cost import COSTS
from mimii_pl.scoring.results import Result
from mimii_pl.tracking.store import open_client

ARTIFACTS = (
    "config.yaml", "run.json", "scores.csv", "results.csv", "history.csv", "skipped.csv", "report.html", "features.npz",
    "backend.npz", "thresholds.json", "identified.csv", "predictions.csv",
)  # fmt: skip


class RunLogger(MLFlowLogger):
    """MLflow as Lightning's logger, with its store made ready.

    Args:
        tracking_uri: of the store; a local SQLite database keeps its artifacts beside it.
        experiment_name: the experiment all runs go to.
        run_name: what the run is called; None: `<model>-<machine>`.
    """

    def __init__(self, *, tracking_uri: str, experiment_name: str = "mimii_pl", run_name: str | None = None) -> None:
        self.tracking_uri, self.run_name = tracking_uri, run_name
        open_store(tracking_uri, experiment_name)
        super().__init__(experiment_name, run_name=run_name, tracking_uri=tracking_uri)

    def continue_run(self, run_id: str) -> None:
        """Record into an MLflow run that exists already."""
        self._run_id = run_id


def open_store(tracking_uri: str, experiment_name: str) -> str:
    """Make the store and the experiment where they are missing; the experiment's id.

    Raises:
        InputError: the server does not answer.
    """
    location = None
    if tracking_uri.startswith("sqlite:///"):
        folder = Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        location = (folder / "artifacts").as_uri()
    from mlflow.exceptions import MlflowException

    client = open_client(tracking_uri)
    found = client.get_experiment_by_name(experiment_name)
    if found is None:
        try:
            return client.create_experiment(experiment_name, location)
        except MlflowException:  # another process of a sweep may have made it just now
            found = client.get_experiment_by_name(experiment_name)
            if found is None:
                raise
    return found.experiment_id


class RunDescription(NamedTuple):
    """What MLflow is told when a run starts: its name, tags, parameters, and the ID of its sweep's parent run."""

    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    parent: str | None = None


class Recorder:
    """Records a run in MLflow: RUNNING at its start, FINISHED, FAILED or KILLED at its end. Without MLflow, nothing.

    Args:
        logger: `RunLogger`, or anything else where the run is not recorded.
        run_dir: the run's directory; run.json keeps MLflow's ID of the run.
        description: None for a run that is recorded already.
    """

    def __init__(self, logger: Any, run_dir: Path, description: RunDescription | None = None) -> None:
        self.logger = logger if isinstance(logger, RunLogger) else None
        self.run_dir, self.description = run_dir, description

    def start(self) -> None:
        """Open the MLflow run, or the one that this run directory has already."""
        if self.logger is None or self.description is None:
            return
        known = read_facts(self.run_dir).get("mlflow_run_id")
        if known:
            self.logger.continue_run(known)
        client, run_id = self.logger.experiment, self.logger.run_id
        tags = {"mlflow.runName": self.logger.run_name or self.description.name, **self.description.tags}
        if self.description.parent:
            tags["mlflow.parentRunId"] = self.description.parent
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        if not known:
            self.logger.log_hyperparams(self.description.params)
        write_facts(self.run_dir, mlflow_run_id=run_id)

    def resume(self, run_id: str) -> None:
        """Record into an MLflow run that exists already."""
        if self.logger is not None:
            self.logger.continue_run(run_id)

    def finish(self, results: Iterable[Result], criteria: Mapping[str, float]) -> None:
        """Record metrics and files, and end the run as FINISHED. Undefined metrics are left out.

        Args:
            criteria: numbers made of held-out clips, by name.
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
    """End the MLflow run of a run directory, where it has one, as `FAILED` or `KILLED`."""
    if run_id := read_facts(run_dir).get("mlflow_run_id"):
        import mlflow

        mlflow.MlflowClient(tracking_uri).set_terminated(run_id, status)


def _test_metrics(results: list[Result]) -> dict[str, float]:
    many = len({result.machine for result in results}) > 1
    return {
        f"test/{r.metric}/{r.machine + '/' if many else ''}{_metric_name(r.id)}": r.value
        for r in results
        if not r.metric.startswith("n_") and r.metric != "n"
    }


def _metric_name(name: str) -> str:
    """A name with everything replaced that MLflow does not allow in a metric: classes may be called anything."""
    return re.sub(r"[^\w\-. /]", "_", name)
