"""A run in MLflow: where it is recorded, what is recorded at its start and at its end."""

import math
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import MLFlowLogger

import mimii_pl
from mimii_pl import _config, _run_dir
from mimii_pl.report._efficiency import FIGURES
from mimii_pl.tracking._store import opened

if TYPE_CHECKING:
    from mimii_pl.results import Result

ARTIFACTS = (
    "config.yaml", "run.json", "scores.csv", "results.csv", "history.csv", "skipped.csv", "report.html", "features.npz",
    "backend.npz", "thresholds.json", "identified.csv", "predictions.csv",
)  # fmt: skip
MAX_PARAM = 500  # characters: what every MLflow store takes


class RunLogger(MLFlowLogger):
    """MLflow as Lightning's logger, with its store made ready.

    Args:
        tracking_uri: of the store; a local SQLite database keeps its artifacts beside it.
        experiment_name: the experiment all runs go to.
        run_name: what the run is called; None: `<model>-<machine>`.
    """

    def __init__(self, *, tracking_uri: str, experiment_name: str = "mimii_pl", run_name: str | None = None) -> None:
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

    client = opened(tracking_uri)
    found = client.get_experiment_by_name(experiment_name)
    if found is None:
        try:
            return client.create_experiment(experiment_name, location)
        except MlflowException:  # another process of a sweep may have made it just now
            found = client.get_experiment_by_name(experiment_name)
            if found is None:
                raise
    return found.experiment_id


def start_run(cfg: DictConfig, logger: Any, run_dir: Path, sweep_dir: Path | None) -> None:
    """Open the MLflow run: name, tags, parameters, its place under the sweep's parent. Without MLflow: nothing."""
    if not isinstance(logger, RunLogger):
        return
    known = _run_dir.facts_of(run_dir).get("mlflow_run_id")
    if known:
        logger.continue_run(known)
    client, run_id = logger.experiment, logger.run_id
    tags = {
        "mlflow.runName": cfg.trainer.logger.run_name or f"{cfg.choices.model}-{cfg.machine.name}{_trial(cfg)}",
        "machine": cfg.machine.name,
        "selection": _config.SELECTION[_config.task_of(cfg)],
        "run_dir": str(run_dir),
        "version": mimii_pl.__version__,
        **{group: str(choice) for group, choice in cfg.choices.items() if group != "machine"},
    }
    if sweep_dir is not None and (parent := _run_dir.parent_of(sweep_dir)):
        tags["mlflow.parentRunId"] = parent
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    if not known:
        logger.log_hyperparams({**cfg.choices, **flat(cfg)})
    _run_dir.note(run_dir, mlflow_run_id=run_id)


def finish_run(logger: Any, results: Iterable["Result"], criterion: Mapping[str, float], run_dir: Path) -> None:
    """Record metrics and files, and end the run. Undefined metrics are left out: NaN is no number to compare by."""
    if not isinstance(logger, RunLogger):
        return
    from mlflow.entities import Metric

    results = list(results)
    many = len({result.machine for result in results}) > 1
    named = {
        f"test/{r.metric}/{r.machine + '/' if many else ''}{_word(r.id)}": r.value
        for r in results
        if not r.metric.startswith("n_") and r.metric != "n"
    }
    named |= {f"val/{name}": value for name, value in criterion.items()}
    facts = _run_dir.facts_of(run_dir)
    named |= {f"efficiency/{name}": facts[name] for name in FIGURES if name in facts}
    now = int(time.time() * 1000)
    client, run_id = logger.experiment, logger.run_id
    metrics = [Metric(name, value, now, 0) for name, value in named.items() if math.isfinite(value)]
    client.log_batch(run_id, metrics=metrics)
    for name in ARTIFACTS:
        if (run_dir / name).is_file():
            client.log_artifact(run_id, str(run_dir / name))
    client.log_artifact(run_id, str(run_dir / facts["checkpoint"]), "checkpoints")
    client.set_terminated(run_id, "FINISHED")


def _word(name: str) -> str:
    """A name with what MLflow takes for no part of a metric's replaced: classes may be called anything."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _trial(cfg: DictConfig) -> str:
    number = OmegaConf.select(cfg, "sweep.trial")
    return "" if number is None else f"-{number}"


def end_run(cfg: DictConfig, run_dir: Path, status: str) -> None:
    """End the MLflow run of a run directory, where it has one, as `FAILED` or `KILLED`."""
    run_id = _run_dir.facts_of(run_dir).get("mlflow_run_id")
    if run_id and cfg.trainer.get("logger"):
        import mlflow

        mlflow.MlflowClient(cfg.trainer.logger.tracking_uri).set_terminated(run_id, status)


def flat(cfg: DictConfig) -> dict[str, str]:
    """The configuration as one level of dotted keys; lists of parts (callbacks) and the logger are left out."""
    found: dict[str, str] = {}

    def walk(node: dict, prefix: str) -> None:
        for key, value in node.items():
            if key.startswith("_"):
                continue
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
                found[prefix + key] = str(value)[:MAX_PARAM]

    plain = OmegaConf.to_container(cfg)
    plain.pop("choices")
    plain["trainer"].pop("logger", None)
    walk(plain, "")
    return found
