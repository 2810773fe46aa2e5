"""The command `mimii record`: send to MLflow later what it lacks of a run or a sweep."""

import sys
from collections.abc import Collection
from pathlib import Path

from mimii_pl.core.config import task_class
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, read_facts
from mimii_pl.core.run_lock import locked
from mimii_pl.core.stored_config import read_config
from mimii_pl.scoring.results import read_results
from mimii_pl.tracking.logger import recorder_of
from mimii_pl.tracking.sweep_recorder import SweepRecorder


class UnrecordedError(InputError):
    """Raised for a run that was not to be recorded."""


def record(*, run: str, tracking_uri: str | None = None, trust: Collection[str] = ()) -> None:
    """Record a run, or a sweep with all its runs, in MLflow. What MLflow has already is not sent again.

    A run of a sweep that cannot be recorded does not keep the others from it.

    Args:
        run: a run directory, `latest`, or the directory of a sweep.
        tracking_uri: the store; None: that of the run's configuration.
        trust: packages, besides this one, whose class a run's task may be.

    Raises:
        InputError: there is no such run, it was not to be recorded, or MLflow cannot be reached.
    """
    folder = (Path(run) if Path(run).is_dir() else find_run(run)).resolve()
    if (folder / "sweep.json").is_file():
        _record_sweep(folder, tracking_uri, trust)
    else:
        print(_record_run(find_run(folder), tracking_uri, trust))


def _record_sweep(folder: Path, tracking_uri: str | None, trust: Collection[str]) -> None:
    sweep, failed = SweepRecorder(folder, tracking_uri=tracking_uri, strict=True), []
    if sweep.record is None:
        raise InputError(f"run={folder}: its runs were started with logger=none, so there is nothing to record")
    status = sweep.end_status()
    sweep.start()
    try:
        for child in sorted(path.parent for path in folder.glob("*/run.json")):
            try:
                print(_record_run(child, tracking_uri, trust))
            except UnrecordedError as reason:
                print(reason)
            except (InputError, OSError) as error:
                failed.append(child.name)
                print(f"{child} is not recorded: {error}", file=sys.stderr)
    finally:
        sweep.end(status)
    if failed:
        raise InputError(f"run={folder}: MLflow lacks {', '.join(failed)}, for the reasons above")


def _record_run(run_dir: Path, tracking_uri: str | None, trust: Collection[str]) -> str:
    """Record a run and return a line on what was done."""
    with locked(run_dir):  # a run that is being written ends itself
        return _record_locked(run_dir, tracking_uri, trust)


def _record_locked(run_dir: Path, tracking_uri: str | None, trust: Collection[str]) -> str:
    facts, cfg = read_facts(run_dir), read_config(run_dir)
    if tracking_uri and cfg.trainer.get("logger"):
        cfg.trainer.logger.tracking_uri = tracking_uri
    recorder = recorder_of(cfg, run_dir, trust=trust, strict=True)
    if recorder.record is None:
        raise UnrecordedError(f"run={run_dir} was started with logger=none, so there is nothing to record")
    status = {"finished": "FINISHED", "pruned": "KILLED"}.get(facts.get("status", ""), "FAILED")
    if recorder.record.spool.ended(status):
        if recorder.is_kept(status):
            return f"{run_dir}: MLflow has everything"
        print(f"{run_dir}: MLflow no longer has all of it (deleted, or its files are gone): it is recorded again")
    if status == "FINISHED":
        names = (task_class(cfg, trust).criterion, "objective")
        recorder.finish(read_results(run_dir / "results.csv"), {name: facts[name] for name in names if name in facts})
    else:
        recorder.end(status)
    return f"{run_dir}: recorded as {status}, {recorder.record.sent} points sent"
