"""A run in MLflow, found again by a key: created once, whenever MLflow can be reached."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimii_pl.core.addresses import without_password
from mimii_pl.tracking.spool import Point, Spool, chunks
from mimii_pl.tracking.store import PARENT, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "mimii_pl.key"  # tag by which a run is found whose ID was not noted


class RemoteRun:
    """A run in MLflow. Every method raises what MLflow raises.

    Args:
        tracking_uri, experiment_name: where it is recorded.
        key: unique; a run with this key is continued.
        run_id: its ID in MLflow, if that is known.
        name, tags, params: of the run.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment_name: str,
        *,
        key: str,
        run_id: str | None,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
    ) -> None:
        self.tracking_uri, self.experiment_name = without_password(tracking_uri), experiment_name
        self.key, self.run_id, self.name, self.tags, self.params = key, run_id, name, tags, params
        self.client: MlflowClient | None = None
        self._has: set[str] = set()  # names of its parameters

    def open(self) -> "tuple[MlflowClient, str]":
        """Create the run, or continue it, once; return MLflow's client and the run's ID."""
        if self.client is None:
            from mlflow.entities import RunTag
            from mlflow.tracking.context.registry import resolve_tags

            client, experiment = open_store(self.tracking_uri, self.experiment_name)
            run = self._find(client, experiment)
            if run is None:
                tags = resolve_tags({**self.tags, KEY: self.key})
                run = client.create_run(experiment, tags=tags, run_name=self.name)
            else:
                client.update_run(run.info.run_id, status="RUNNING")
                changed = self.tags.items() - run.data.tags.items()
                client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in changed])
            self.run_id, self.client, self._has = run.info.run_id, client, set(run.data.params)
            for chunk in chunks(self.params):
                self.log([], chunk)
        assert self.run_id is not None
        return self.client, self.run_id

    def open_run(self) -> str:
        """Create the run, or continue it; return its ID."""
        return self.open()[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "client": None}  # of this process alone

    def is_kept(self, files: Collection[str]) -> bool:
        """Return whether MLflow has the run, not deleted, as a run of the same sweep, with these of its artifacts."""
        client, experiment = open_store(self.tracking_uri, self.experiment_name)
        run = self._find(client, experiment)
        if run is None or run.data.tags.get(PARENT) != self.tags.get(PARENT):
            return False
        return {item.path for item in client.list_artifacts(run.info.run_id)}.issuperset(files)

    def close(self) -> None:
        """Forget the connection; the next use looks for the run again."""
        self.client = None

    def _find(self, client: "MlflowClient", experiment: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        if self.run_id:
            try:
                run = client.get_run(self.run_id)
                if run.info.lifecycle_stage == "active":
                    return run
            except MlflowException as error:  # of another store, or gone
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{self.key}'", max_results=1)
        return found[0] if found else None

    def log(self, points: Iterable[Point], params: Mapping[str, Any]) -> None:
        """Log points, and the parameters that the run lacks: a parameter keeps its first value."""
        from mlflow.entities import Metric, Param

        client, run_id = self.open()
        metrics = [Metric(name, value, time, step) for name, value, step, time in points]
        missing = [Param(name, str(value)) for name, value in params.items() if name not in self._has]
        client.log_batch(run_id, metrics=metrics, params=missing)
        self._has |= params.keys()

    def send(self, spool: Spool) -> int:
        """Send everything the run lacks; return the number of points."""
        (_, run_id), sent = self.open(), 0
        while batch := spool.unsent(run_id):
            self.log(batch.points, batch.params)
            spool.mark_sent(run_id, batch.end)
            sent += len(batch.points)
        return sent

    def upload(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or a folder, among the run's artifacts."""
        client, run_id = self.open()
        client.log_artifact(run_id, str(path), folder)

    def end(self, status: str) -> None:
        """End the run as `FINISHED`, `FAILED` or `KILLED`."""
        client, run_id = self.open()
        client.set_terminated(run_id, status)
