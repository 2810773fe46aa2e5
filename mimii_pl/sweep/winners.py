"""Find the finished runs of a sweep, in its directory or in MLflow, and the winners among them."""

import math
import re
import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omegaconf import DictConfig

from mimii_pl.core.config import task_class
from mimii_pl.core.errors import InputError
from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import identity, split_options
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mimii_pl.task import Task

CRITERIA = (  # runs are chosen by the first that is known
    "objective=diverse",
    "objective=other_ids",
    "objective=loss",
    "sensitivity",
    "pseudo_auc",  # of earlier versions
    "balanced_accuracy",
)
RETRAINED = "best"  # option of runs whose sweep retrains the winners of another one


class Trial(NamedTuple):
    """A finished run.

    Attributes:
        target: of a classifier; empty: it gives anomaly scores.
        figures: those of `CRITERIA` that it has.
        options: shared with the runs that repeat it.
        place: its directory, or its ID in MLflow.
    """

    name: str
    machine: str
    target: str
    figures: dict[str, float]
    options: tuple
    place: Path | str

    @property
    def model_name(self) -> str:
        """Name of its model in the registry: `fan`; of classifiers `fan-condition`."""
        return re.sub(r"[^\w\- ]", "_", "-".join(filter(None, (self.machine, self.target))))


class Sweep(NamedTuple):
    """Runs that belong together; `tracking_uri` is None if they were found in a directory, not in MLflow."""

    name: str
    trials: list[Trial]
    tracking_uri: str | None = None

    def config(self, trial: Trial) -> DictConfig:
        """Read the resolved configuration of a run."""
        if isinstance(trial.place, Path):
            return read_config(trial.place)
        from mimii_pl.tracking.store import existing, without_bars

        with tempfile.TemporaryDirectory() as folder, without_bars():
            assert self.tracking_uri is not None
            client = existing(self.tracking_uri)
            client.download_artifacts(trial.place, "config.yaml", folder)
            return read_config(Path(folder))


def criterion(trials: Sequence[Trial]) -> str:
    """Return the name of the criterion that these runs are compared by."""
    return next(name for name in CRITERIA if any(name in trial.figures for trial in trials))


def best_runs(sweep: Sweep) -> list[Trial]:
    """Return the run with the highest criterion of each machine type (and target), in alphabetical order.

    Raises:
        InputError: the criterion is defined for no run of a machine.
    """
    return [max(trials, key=lambda trial: trial.figures[name]) for name, trials in _by_machine(sweep)]


def winners(sweep: Sweep) -> list[Trial]:
    """Do the same within the winning options: those with the highest mean criterion over repeated runs.

    Raises:
        InputError: as `best_runs`.
    """
    kept = []
    for name, trials in _by_machine(sweep):
        repeats = group_by(trials, lambda trial: trial.options)
        kept += max(repeats.values(), key=lambda runs: statistics.fmean(run.figures[name] for run in runs))
    return best_runs(sweep._replace(trials=kept))


def _by_machine(sweep: Sweep) -> list[tuple[str, list[Trial]]]:
    """Return the criterion of each machine type and target, and the runs for which it is defined."""
    groups = group_by(sweep.trials, lambda trial: (trial.machine, trial.target))
    kept = []
    for (machine, _), trials in sorted(groups.items()):
        name = criterion(trials)
        defined = [trial for trial in trials if math.isfinite(trial.figures.get(name, math.nan))]
        if not defined:
            raise InputError(f"{sweep.name}: no run on {machine} has a defined {name} to choose it by")
        kept.append((name, defined))
    return kept


def find_sweep(
    place: str,
    tracking_uri: str,
    experiment_name: str,
    outputs: Path = Path("outputs"),
    trust: Collection[str] = (),
) -> Sweep:
    """Find a sweep by its directory, the directory of a run, its MLflow ID or `latest`.

    `latest` is the newest one under `outputs` that has a finished run; if there is none, the newest one in MLflow.
    Sweeps that retrain the winners of another one are skipped.

    Args:
        trust: packages, besides this one, whose class a run's task may be.

    Raises:
        InputError: there is no such sweep, or it has no finished run.
    """
    if place == "latest":
        newest_first = sorted(outputs.rglob("sweep.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest_first:
            trials = [trial for trial in _finished(path.parent, trust) if not _retrained(Path(trial.place))]
            if trials:
                return Sweep(path.parent.name, trials)
    elif Path(place).is_dir():
        return directory_sweep(Path(place), trust)
    elif not re.fullmatch(r"[0-9a-f]{32}", place):
        raise InputError(f"{place}: neither the directory of a sweep, nor its MLflow ID, nor `latest`")
    return _mlflow_sweep(place, tracking_uri, experiment_name)


def directory_sweep(folder: Path, trust: Collection[str] = ()) -> Sweep:
    """Read the finished runs of a sweep's directory, or the one run of a run's directory."""
    folder = folder.resolve()
    trials = _finished(folder, trust) or _finished(folder.parent, trust, [folder])
    if not trials:
        raise InputError(f"{folder}: it has no finished run")
    return Sweep(folder.name, trials)


def _finished(folder: Path, trust: Collection[str], children: Sequence[Path] | None = None) -> list[Trial]:
    trials = []
    for child in sorted(folder.iterdir()) if children is None else children:
        facts = read_facts(child)
        if facts.get("status") == "finished":
            cfg = read_config(child)
            task: type[Task] = task_class(cfg, trust)
            target = cfg.target if task.is_classification else ""
            figures = _figures(facts, cfg.get("objective"))
            trials.append(Trial(child.name, cfg.machine.name, target, figures, identity(cfg), child))
    return trials


def _figures(facts: Mapping[str, float], objective: str | None) -> dict[str, float]:
    """Return those of `CRITERIA` that the facts of a run have; `objective`: the option."""
    named = {**facts, f"objective={objective}": facts.get("objective", math.nan)}
    return {name: named[name] for name in CRITERIA if name in named}


def _retrained(run_dir: Path) -> bool:
    return read_config(run_dir).get(RETRAINED) is not None


def _mlflow_sweep(place: str, tracking_uri: str, experiment_name: str) -> Sweep:
    from mimii_pl.tracking.store import existing, runs_of_sweep, search

    client = existing(tracking_uri)
    if place != "latest":
        experiment_name = _experiment_of(client, place, tracking_uri)
    runs = list(search(client, tracking_uri, experiment_name, "trainer.logger.experiment_name"))
    if place == "latest":
        runs = [run for run in runs if run.data.params.get(RETRAINED, "None") == "None"]
    trials = []
    for run in runs_of_sweep(runs, place, key="best"):
        metrics, tags = run.data.metrics, run.data.tags
        criteria = {key.removeprefix("val/"): value for key, value in metrics.items()}
        figures = _figures(criteria, run.data.params.get("objective"))
        target = run.data.params["target"] if tags.get("task") == "classification" else ""
        name, options = f"{run.info.run_name} {run.info.run_id[:8]}", tuple(split_options(run.data.params)[0].items())
        trials.append(Trial(name, tags["machine"], target, figures, options, run.info.run_id))
        place = tags["mlflow.parentRunId"]
    return Sweep(place, trials, tracking_uri)


def _experiment_of(client: "MlflowClient", run_id: str, tracking_uri: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.get_run(run_id).info.experiment_id).name
    except MlflowException:
        raise InputError(
            f"{run_id}: no such run in {tracking_uri}; set trainer.logger.tracking_uri or MLFLOW_TRACKING_URI to "
            "its store"
        ) from None
