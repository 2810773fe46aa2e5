"""The finished runs of MLflow's store, with the files that a comparison reads."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.report.ranking import RecordedRun
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores
from mimii_pl.scoring.sensitivity import read_sensitivity
from mimii_pl.tracking.store import existing, runs_of_sweep, search, without_bars

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NEEDED = ("scores.csv", "results.csv", "run.json")  # artifacts that a comparison reads
OTHER_TAGS = ("run_dir", "selection", "version")  # all others are choices, a tag per group


def finished_runs(
    tracking_uri: str, experiment_name: str, only: Mapping[str, Any] | None = None, sweep: str | None = None
) -> tuple[list[RecordedRun], list[tuple[str, str]]]:
    """Read the finished runs of an experiment, newest first, and (run, reason) of those that cannot be compared.

    Args:
        tracking_uri: of an existing store.
        experiment_name: of the runs.
        only: group -> choices to read, one or a list (`machine: fan`); None: all.
        sweep: MLflow's ID of the parent run whose children to read, or `latest`; None: all.

    Raises:
        InputError: there is no such store, experiment or sweep, or no such run.
    """
    wanted = {group: _listed(choice) for group, choice in (only or {}).items() if choice is not None}
    client = existing(tracking_uri)
    candidates = [run for run in search(client, tracking_uri, experiment_name) if _has_scores(run)]
    if sweep is not None:
        candidates = runs_of_sweep(candidates, sweep)
    kept = [run for run in candidates if all(run.data.tags.get(group) in choices for group, choices in wanted.items())]
    if not kept:
        raise InputError(f"no finished run of {experiment_name} in {tracking_uri}{_alternatives(candidates, wanted)}")
    runs, skipped = [], []
    with without_bars():
        for run in with_bar(kept, "reading runs"):
            try:
                runs.append(_read(client, run))
            except (InputError, ValueError, OSError) as error:
                skipped.append((f"{run.info.run_name} {run.info.run_id[:8]}", str(error)))
    return runs, skipped


def _has_scores(run: "Run") -> bool:
    """Return whether a run gives anomaly scores; classifiers are ranked by the leaderboards of their sweeps."""
    return "model" in run.data.tags and run.data.tags.get("task", "anomaly") == "anomaly"


def _listed(choice: Any) -> list[str]:
    return [str(choice)] if isinstance(choice, str | int) else [str(item) for item in choice]


def _alternatives(runs: "Sequence[Run]", wanted: Mapping[str, Sequence[str]]) -> str:
    """Return the end of an error: the choices that were not found, and those that exist."""
    request = " ".join(f"{group}={','.join(choices)}" for group, choices in wanted.items())
    present = {group: sorted({run.data.tags.get(group, "") for run in runs} - {""}) for group in wanted}
    offered = "; ".join(f"{group}: {', '.join(names) or 'none'}" for group, names in present.items())
    return f" has {request}. Recorded are {offered}" if request else ": train something first"


def _read(client: "MlflowClient", run: "Run") -> RecordedRun:
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    if missing := [name for name in NEEDED if name not in artifacts]:
        raise InputError(f"it has no {', '.join(missing)}: recorded by an older version, or its files are gone")
    with tempfile.TemporaryDirectory() as folder:
        for name in NEEDED:
            client.download_artifacts(run.info.run_id, name, folder)
        results, clips = read_results(f"{folder}/results.csv"), read_scores(Path(folder, "scores.csv"))
        facts = read_facts(Path(folder))
        if "sensitivity.csv" in artifacts:
            client.download_artifacts(run.info.run_id, "sensitivity.csv", folder)
        noticed = read_sensitivity(Path(folder, "sensitivity.csv"))
    if not results:
        raise InputError("it has no results: its test clips have no labels")
    choices = {key: value for key, value in run.data.tags.items() if "." not in key and key not in OTHER_TAGS}
    params = {key: value for key, value in run.data.params.items() if "." in key or key in ("seed", "target")}
    options = {**params, **choices}  # a choice of nothing (`backend=none`) has the value None among the params
    selection = run.data.tags.get("selection", "")
    return RecordedRun(run.info.run_id, run.info.run_name, options, selection, results, clips, facts, noticed)
