"""Finished runs of a sweep, out of its directory or out of MLflow, and which of them won."""

import math
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from mimii_pl.core.config import class_of, read_config
from mimii_pl.core.errors import InputError
from mimii_pl.core.options import identity, split_options
from mimii_pl.core.run_dir import read_facts

CRITERIA = (  # what runs are chosen by: the first that there is
    "objective=other_ids", "objective=loss", "pseudo_auc", "balanced_accuracy",
)  # fmt: skip
RETRAINED = "best"  # the option that says of a run that its sweep repeats the winner of another one


class Trial(NamedTuple):
    """A finished run.

    `figures`: those of `CRITERIA` it has. `options`: what it shares with runs that repeat it. `place`: its directory,
    or its id in MLflow.
    """

    name: str
    machine: str
    target: str  # what a classifier tells apart; empty: it gives anomaly scores
    figures: dict[str, float]
    options: tuple
    place: Path | str

    @property
    def model_name(self) -> str:
        """What its model is called in a registry: `fan`, of classifiers `fan-condition`."""
        return re.sub(r"[^\w\- ]", "_", "-".join(filter(None, (self.machine, self.target))))


class Sweep(NamedTuple):
    """Where runs belong together: `name` for people, `tracking_uri` where it was found in MLflow."""

    name: str
    trials: list[Trial]
    tracking_uri: str | None = None

    def config(self, trial: Trial) -> DictConfig:
        """The resolved configuration of one of its runs."""
        if isinstance(trial.place, Path):
            return read_config(trial.place)
        from mlflow import MlflowClient

        from mimii_pl.tracking.store import without_bars

        with tempfile.TemporaryDirectory() as folder, without_bars():
            client = MlflowClient(self.tracking_uri)
            client.download_artifacts(trial.place, "config.yaml", folder)
            return read_config(Path(folder))


def criterion(trials: Sequence[Trial]) -> str:
    """By what these runs are compared."""
    return next(name for name in CRITERIA if any(name in trial.figures for trial in trials))


def best_runs(sweep: Sweep) -> list[Trial]:
    """The run of highest criterion of each machine type (and target, of classifiers), in alphabetical order.

    Raises:
        InputError: the criterion is defined for no run of a machine.
    """
    return [max(trials, key=lambda trial: trial.figures[name]) for name, trials in _by_machine(sweep)]


def winners(sweep: Sweep) -> list[Trial]:
    """The same of the options that win: those of highest mean criterion over the runs that repeat them.

    Raises:
        InputError: as `best_runs`.
    """
    kept = []
    for name, trials in _by_machine(sweep):
        repeats: dict[tuple, list[Trial]] = {}
        for trial in trials:
            repeats.setdefault(trial.options, []).append(trial)
        kept += max(repeats.values(), key=lambda runs: statistics.fmean(run.figures[name] for run in runs))
    return best_runs(sweep._replace(trials=kept))


def _by_machine(sweep: Sweep) -> list[tuple[str, list[Trial]]]:
    """Criterion, and the runs for which it is defined, of each machine type and target."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in sweep.trials:
        groups.setdefault((trial.machine, trial.target), []).append(trial)
    found = []
    for (machine, _), trials in sorted(groups.items()):
        name = criterion(trials)
        defined = [trial for trial in trials if math.isfinite(trial.figures.get(name, math.nan))]
        if not defined:
            raise InputError(f"{sweep.name}: no run on {machine} has a {name} to be chosen by")
        found.append((name, defined))
    return found


def find_sweep(place: str, tracking_uri: str, experiment_name: str, outputs: Path = Path("outputs")) -> Sweep:
    """The sweep that a user means: its directory, a single run's, MLflow's id of it, or `latest`.

    `latest`: the newest one under `outputs` that has a finished run, or where there is none in MLflow; sweeps that
    repeat the winner of another one are left out.

    Raises:
        InputError: there is no such sweep, or it has no finished run.
    """
    if place == "latest":
        newest_first = sorted(outputs.rglob("sweep.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest_first:
            trials = [trial for trial in _finished(path.parent) if not _retrained(trial.place)]
            if trials:
                return Sweep(path.parent.name, trials)
    elif Path(place).is_dir():
        return directory_sweep(Path(place))
    elif not re.fullmatch(r"[0-9a-f]{32}", place):
        raise InputError(f"best={place}: neither a directory of a sweep, nor MLflow's id of one, nor `latest`")
    return _mlflow_sweep(place, tracking_uri, experiment_name)


def directory_sweep(folder: Path) -> Sweep:
    """The finished runs in a sweep's directory; of a run's directory that run."""
    folder = folder.resolve()
    trials = _finished(folder) or _finished(folder.parent, [folder])
    if not trials:
        raise InputError(f"{folder}: no finished run there")
    return Sweep(folder.name, trials)


def _finished(folder: Path, children: Sequence[Path] | None = None) -> list[Trial]:
    found = []
    for child in sorted(folder.iterdir()) if children is None else children:
        facts = read_facts(child)
        if facts.get("status") == "finished":
            cfg = read_config(child)
            target = cfg.target if class_of(cfg.task).is_classification else ""
            figures = _figures(facts, cfg.get("objective"))
            found.append(Trial(child.name, cfg.machine.name, target, figures, identity(cfg), child))
    return found


def _figures(known: Mapping[str, float], asked: str | None) -> dict[str, float]:
    """Those of `CRITERIA` among what is known of a run whose `objective` was this."""
    named = {**known, f"objective={asked}": known.get("objective", math.nan)}
    return {name: named[name] for name in CRITERIA if name in named}


def _retrained(run_dir: Path) -> bool:
    return read_config(run_dir).get(RETRAINED) is not None


def _mlflow_sweep(place: str, tracking_uri: str, experiment_name: str) -> Sweep:
    from mimii_pl.tracking.store import existing, runs_of_sweep, search

    client = existing(tracking_uri)
    if place != "latest":
        experiment_name = _experiment_of(client, place, tracking_uri)
    runs = list(search(client, tracking_uri, experiment_name))
    if place == "latest":
        runs = [run for run in runs if run.data.params.get(RETRAINED, "None") == "None"]
    trials = []
    for run in runs_of_sweep(runs, place, key="best"):
        metrics, tags = run.data.metrics, run.data.tags
        figures = _figures(
            {key.removeprefix("val/"): one for key, one in metrics.items()}, run.data.params.get("objective")
        )
        target = run.data.params["target"] if tags.get("task") == "classification" else ""
        name, options = f"{run.info.run_name} {run.info.run_id[:8]}", tuple(split_options(run.data.params)[0].items())
        trials.append(Trial(name, tags["machine"], target, figures, options, run.info.run_id))
        place = tags["mlflow.parentRunId"]
    return Sweep(place, trials, tracking_uri)


def _experiment_of(client, run_id: str, tracking_uri: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.get_run(run_id).info.experiment_id).name
    except MlflowException:
        raise InputError(
            f"best={run_id}: no such run in {tracking_uri}; where it is says trainer.logger.tracking_uri, or "
            "MLFLOW_TRACKING_URI"
        ) from None
