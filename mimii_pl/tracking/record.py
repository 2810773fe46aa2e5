"""The command `mimii record`: send to MLflow later what it lacks of a run or a sweep."""

from pathlib import Path

from mimii_pl.core.config import task_class
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, read_facts
from mimii_pl.core.run_lock import locked
from mimii_pl.core.stored_config import read_config
from mimii_pl.scoring.results import read_results
from mimii_pl.tracking.logger import recorder_of
from mimii_pl.tracking.sweep_recorder import SweepRecorder


def record(*, run: str, tracking_uri: str | None = None) -> None:
    """Record a run, or a sweep with all its runs, in MLflow. What MLflow has already is not sent again.

    Args:
        run: a run directory, `latest`, or the directory of a sweep.
        tracking_uri: the store; None: that of the run's configuration.

    Raises:
        InputError: there is no such run, it was not to be recorded, or MLflow cannot be reached.
    """
    folder = (Path(run) if Path(run).is_dir() else find_run(run)).resolve()
    if not (folder / "sweep.json").is_file():
        _record_run(find_run(folder), tracking_uri)
        return
    sweep = SweepRecorder(folder, tracking_uri=tracking_uri, strict=True)
    if sweep.record is None:
        raise InputError(f"run={folder}: its runs were started with logger=none, so there is nothing to record")
    sweep.start()
    for child in sorted(path.parent for path in folder.glob("*/run.json")):
        _record_run(child, tracking_uri)
    sweep.end("FINISHED")


def _record_run(run_dir: Path, tracking_uri: str | None) -> None:
    with locked(run_dir):  # a run that is being written ends itself
        _record_locked(run_dir, tracking_uri)


def _record_locked(run_dir: Path, tracking_uri: str | None) -> None:
    facts, cfg = read_facts(run_dir), read_config(run_dir)
    if tracking_uri and cfg.trainer.get("logger"):
        cfg.trainer.logger.tracking_uri = tracking_uri
    recorder = recorder_of(cfg, run_dir, strict=True)
    if recorder.record is None:
        raise InputError(f"run={run_dir} was started with logger=none, so there is nothing to record")
    status = {"finished": "FINISHED", "pruned": "KILLED"}.get(facts.get("status", ""), "FAILED")
    spool = recorder.record.spool
    if spool.ended(status):
        print(f"{run_dir}: MLflow has everything")
        return
    points = spool.pending()
    if status == "FINISHED":
        criteria = {name: facts[name] for name in (task_class(cfg).criterion, "objective") if name in facts}
        recorder.finish(read_results(run_dir / "results.csv"), criteria)
    else:
        recorder.end(status)
    print(f"{run_dir}: recorded as {status}, {points} points sent")
