"""Record a sweep in MLflow: the parent run of its runs."""

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mimii_pl.core.addresses import without_password
from mimii_pl.core.files import write_text
from mimii_pl.core.run_dir import read_facts, read_sweep_facts
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.run_record import RunRecord
from mimii_pl.tracking.store import PARENT

ATTACHED = (".csv", ".md", ".tex", ".png")  # leaderboards, and the figures of a search


class SweepRecorder:
    """Record the parent run of a sweep; do nothing without MLflow. All that it needs is in the sweep's sweep.json.

    Args:
        sweep_dir: directory of the sweep.
        tracking_uri: the store; None: that of its runs.
        strict: raise InputError where MLflow cannot be reached, instead of warning.
        offline: ask MLflow for nothing; `mimii record` can do so later.
    """

    def __init__(
        self, sweep_dir: Path, *, tracking_uri: str | None = None, strict: bool = False, offline: bool = False
    ) -> None:
        self.path, self.offline = sweep_dir / "sweep.json", offline
        facts = self._facts()
        self.record = None
        if "mlflow_key" in facts:
            self.remote = RemoteRun(
                tracking_uri or facts["tracking_uri"],
                facts["experiment_name"],
                key=facts["mlflow_key"],
                run_id=facts["mlflow_run_id"],
                name=facts["name"],
                tags=facts["tags"],
                params={},
            )
            self.record = RunRecord(self.remote, sweep_dir, self._note, strict=strict)

    def start(self) -> None:
        """Create the parent run, or continue it."""
        if self.record is not None and not self.offline:
            self.record.start()

    def add(self, *, tags: Mapping[str, Any] | None = None, metrics: Mapping[str, float] | None = None) -> None:
        """Keep tags and metrics, for the end to record."""
        if self.record is not None:
            self.remote.tags = {**self._facts()["tags"], **{k: str(v) for k, v in (tags or {}).items()}}
            self._note(tags=self.remote.tags)
            self.record.spool.add_results(metrics or {})

    def end_status(self) -> str:
        """Return how the sweep ended: `FINISHED` if it came to its end, whatever became of its runs, else `KILLED`."""
        facts = self._facts()
        done = facts.get("finished", "failed" in facts["tags"])  # the tag: of an earlier version
        return "FINISHED" if done else "KILLED"

    def end(self, status: str) -> None:
        """Record what was kept and the files of the sweep, and end the run as `FINISHED` or `KILLED`."""
        if status == "FINISHED":
            self._note(finished=True)
        if self.record is not None and not self.offline:
            files = [path for path in sorted(self.path.parent.iterdir()) if path.suffix in ATTACHED]
            is_late = self._facts()["mlflow_run_id"] is None
            self.record.end(status, [(path, None) for path in files])
            if is_late and self.remote.run_id:
                self._adopt(self.record)

    def _adopt(self, record: RunRecord) -> None:
        """Make this the parent of the runs that were recorded before it."""
        for child in sorted(path.parent for path in self.path.parent.glob("*/run.json")):
            with record.trying(f"{child} is recorded, but not as a run of the sweep"):
                client, run_id = self.remote.open()
                if known := read_facts(child).get("mlflow_run_id"):
                    client.set_tag(known, PARENT, run_id)

    def _facts(self) -> dict[str, Any]:
        return read_sweep_facts(self.path.parent)

    def _note(self, **facts: Any) -> None:
        known = self._facts()
        if {**known, **facts} != known:
            write_text(self.path, json.dumps({**known, **facts}, indent=2))


def begin_sweep(sweep_dir: Path, logger: DictConfig | None, tags: Mapping[str, str]) -> SweepRecorder:
    """Start to record a sweep with the logger of its configuration, or continue that of an earlier start.

    Without a logger, what an earlier start has recorded stays known, and nothing is sent.
    """
    facts = {"mlflow_run_id": None, **read_sweep_facts(sweep_dir), "finished": False}
    if logger:
        facts = {
            "mlflow_key": uuid.uuid4().hex,
            "name": time.strftime("sweep %Y-%m-%d %H:%M"),
            "tags": dict(tags),
            **facts,
            "tracking_uri": without_password(logger.tracking_uri),
            "experiment_name": logger.experiment_name,
        }
    write_text(sweep_dir / "sweep.json", json.dumps(facts, indent=2))
    recorder = SweepRecorder(sweep_dir, offline=not logger)
    recorder.start()
    return recorder
