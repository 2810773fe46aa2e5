"""Record a run in MLflow: parameters at its start, points as they come, results and files at its end.

Training never waits for MLflow, nor ends because of it: what it cannot be sent stays in the run directory.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, SupportsFloat

from omegaconf import DictConfig
from pytorch_lightning.loggers.logger import DummyExperiment, Logger, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from mimii_pl.core.addresses import without_password
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import is_copy, read_facts, write_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.scoring.results import Result
from mimii_pl.tracking.beside import run_there
from mimii_pl.tracking.description import ARTIFACTS, RunDescription, describe_run, figures_of, metric_name
from mimii_pl.tracking.mlflow_model import write_model
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.run_record import Attachment, RunRecord
from mimii_pl.tracking.spool import Spool

log = logging.getLogger(__name__)
MODEL_FOLDER = "model"  # artifact of a run that is stored as a model too


class RunLogger(Logger):
    """Lightning logger for MLflow. What is logged goes into the spool of the `Recorder` that the logger is given to.

    Args:
        tracking_uri: of the store; artifacts of a local SQLite database are kept next to it.
        experiment_name: experiment of all runs.
        run_name: name of the run; None: `<model>-<machine>`.
        log_model: also store the run as a model of MLflow, `runs:/<ID>/model` (see `write_model`).
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        experiment_name: str = "mimii_pl",
        run_name: str | None = None,
        log_model: bool = False,
    ) -> None:
        super().__init__()
        self.tracking_uri, self.log_model = without_password(tracking_uri), log_model
        self.experiment_name, self.run_name = experiment_name, run_name
        self.record: RunRecord | None = None  # of the recorder, which only the first process of a run has
        self._full = False  # the spool could not be written

    @property
    def name(self) -> str:
        return self.experiment_name

    @property
    def version(self) -> str | None:
        return self.run_id

    @property
    def run_id(self) -> str | None:
        """MLflow's ID of the run; None as long as MLflow could not be reached."""
        return self.record.remote.run_id if self.record is not None else None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client; one that does nothing as long as MLflow could not be reached."""
        return (self.record.remote.client if self.record is not None else None) or DummyExperiment()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        values = {metric_name(k): float(value) for k, value in metrics.items() if isinstance(value, SupportsFloat)}
        self.keep(lambda spool: spool.add(values, step or 0))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        values = params if isinstance(params, Mapping) else vars(params)
        self.keep(lambda spool: spool.add_params(values))

    def remote_run(self, key: str, description: RunDescription, run_id: str | None = None) -> RemoteRun:
        """Return the run with this key in the logger's store; MLflow is not asked yet."""
        tags = description.tags | ({"mlflow.parentRunId": description.parent} if description.parent else {})
        return RemoteRun(
            self.tracking_uri,
            self.experiment_name,
            key=key,
            run_id=run_id,
            name=self.run_name or description.name,
            tags=tags,
            params=description.params,
        )

    def keep(self, add: Callable[[Spool], None]) -> None:
        """Write to the spool; a full disk must not end a training that does not need it."""
        if self.record is None:
            raise InputError("trainer.logger: of several loggers, the first must be that of MLflow (logger=mlflow)")
        try:
            add(self.record.spool)
        except (OSError, InputError) as error:
            if not self._full:
                reason = getattr(error, "strerror", None) or error
                log.warning("%s: %s: points for MLflow are lost from now on", self.record.spool.path, reason)
            self._full = True


class Recorder:
    """Record a run in MLflow: RUNNING at its start, FINISHED, FAILED or KILLED at its end; do nothing without MLflow.

    A store that cannot be reached ends a new run before it has done anything; MLflow opens it in a thread, while sound
    is decoded, and what it refuses ends the run before training. A run that is resumed or part of a sweep goes on, and
    `mimii record` sends later what MLflow lacks.

    Args:
        logger: `RunLogger`; with any other logger, or none, the run is not recorded.
        run_dir: directory of the run; run.json keeps MLflow's ID of the run, and a key to find it by.
        description: of the run.
        trust: packages, besides this one, whose classes the run may name when it is stored as a model.
        strict: raise InputError whenever MLflow cannot be reached.

    Raises:
        InputError: the store of a new run cannot be reached.
    """

    def __init__(
        self,
        logger: Any,
        run_dir: Path,
        description: RunDescription,
        *,
        trust: Collection[str] = (),
        strict: bool = False,
    ) -> None:
        self.run_dir, self.trust = run_dir, trust
        self.record = None
        if not isinstance(logger, RunLogger) or getattr(rank_zero_only, "rank", 0) != 0:
            return
        self.logger, facts = logger, read_facts(run_dir)
        key = facts.get("mlflow_key") or uuid.uuid4().hex
        remote = logger.remote_run(key, description, facts.get("mlflow_run_id"))
        is_new = not facts and not (run_dir.parent / "sweep.json").is_file()
        self.record = RunRecord(run_there(remote), run_dir, self._note, strict=strict or is_new)
        logger.record = self.record
        if is_new:
            self.record.open_store()

    def require_store(self) -> None:
        """Wait until the store of a new run is open.

        Raises:
            InputError: it cannot be opened, or takes no run.
        """
        if self.record is not None:
            self.record.require_store()

    def start(self) -> None:
        """Open an MLflow run, or continue the one of this run directory."""
        if self.record is not None:
            self.record.start()
            self.record.strict = False  # from now on there is work to lose

    def sending(self) -> AbstractContextManager[None]:
        """Send points while the block runs, in a thread."""
        return nullcontext() if self.record is None else self.record.sending()

    def finish(self, results: Iterable[Result], criteria: Mapping[str, float]) -> None:
        """Record metrics and files, and end the run as FINISHED. Undefined metrics are skipped.

        Args:
            results: of the test clips.
            criteria: numbers computed from held-out clips, by name.
        """
        if self.record is not None:
            figures = figures_of(results, criteria, read_facts(self.run_dir))
            self.logger.keep(lambda spool: spool.add_results(figures))
            with self._models() as folders:
                self.record.end("FINISHED", self._attachments(), folders)

    def is_kept(self, status: str) -> bool:
        """Ask MLflow whether it still has the run that ended as `status`, with its files."""
        if self.record is None:
            return False
        files, folders = (self._attachments(), self._model_names) if status == "FINISHED" else ([], [])
        return self.record.is_kept(files, folders)

    def end(self, status: str) -> None:
        """End the run as `FAILED` or `KILLED`."""
        if self.record is not None:
            self.record.end(status)

    @property
    def _model_names(self) -> list[str]:
        return [MODEL_FOLDER] if self.logger.log_model else []

    @contextmanager
    def _models(self) -> Iterator[list[Path]]:
        """Make the folder of the run's model, if it is wanted, for as long as the block runs."""
        assert self.record is not None
        with TemporaryDirectory(prefix="mimii-") as place:
            folders: list[Path] = []
            for name in self._model_names:
                with self.record.trying(f"it is recorded without its model; {self.record.later}"):
                    write_model(Path(place, name), self.run_dir, self.trust)
                    folders.append(Path(place, name))
            yield folders

    def _attachments(self) -> list[Attachment]:
        files: list[Attachment] = [(self.run_dir / name, None) for name in ARTIFACTS]
        if checkpoint := read_facts(self.run_dir).get("checkpoint"):
            files.append((self.run_dir / checkpoint, "checkpoints"))
        return files

    def _note(self, **facts: str) -> None:
        known = read_facts(self.run_dir)
        if {**known, **facts} != known:
            write_facts(self.run_dir, **facts)


def recorder_of(cfg: DictConfig, run_dir: Path, *, trust: Collection[str] = (), strict: bool = False) -> Recorder:
    """Return the recorder of a run that exists, from its stored configuration.

    Args:
        trust: packages, besides this one, whose classes the run may name; no other logger than `RunLogger` is built.
        strict: see `Recorder`.
    """
    node, logger = cfg.trainer.get("logger"), None
    if node and node.get("_target_") == f"{__name__}.{RunLogger.__name__}":
        logger = RunLogger(**{str(name): value for name, value in node.items() if name != "_target_"})
    return Recorder(logger, run_dir, describe_run(cfg, run_dir, run_dir.parent, trust), trust=trust, strict=strict)


def end_run(run_dir: Path, status: str, trust: Collection[str] = ()) -> None:
    """End the MLflow run of a run directory, if it has one, as `FAILED` or `KILLED`; `trust`: see `recorder_of`."""
    facts = read_facts(run_dir)
    goes_on = facts.get("status") == "running" and not is_copy(run_dir)  # one that has finished stays so
    if "mlflow_key" in facts and goes_on:
        recorder_of(read_config(run_dir), run_dir, trust=trust).end(status)
