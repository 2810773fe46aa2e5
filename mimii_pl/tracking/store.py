"""MLflow's store: open it, and find its runs. Nothing of this imports torch."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl.core.addresses import whole_address
from mimii_pl.core.databases import make_whole, query, require_writable_database, sqlite_path, tables
from mimii_pl.core.errors import InputError, first_line
from mimii_pl.core.files import require_writable
from mimii_pl.tracking.requests import ELSEWHERE, brief_requests, give_credentials, without_user

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

PARENT = "mlflow.parentRunId"
QUIET = 3  # s without a change after which nobody is making a database any more
BARS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


def open_client(tracking_uri: str) -> "MlflowClient":
    """Open MLflow's client of a store, quietly; a missing SQLite database is made.

    Raises:
        InputError: the server does not answer, or the store cannot be opened.
    """
    is_server = tracking_uri.startswith("http")
    address = give_credentials(tracking_uri) if is_server else whole_address(tracking_uri)
    if address is None:
        raise InputError(
            f"{tracking_uri}: its password is not stored: set MLFLOW_TRACKING_URI to the whole address, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if is_server:
        _check_server(without_user(address))
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they report is raised too
    import mlflow

    try:
        if path := sqlite_path(tracking_uri):
            make_whole(path, _make)
            _check_database(path)
        client = mlflow.MlflowClient(address)
        if is_server:
            with brief_requests(10):
                client.search_experiments(max_results=1)  # credentials that are wrong are noticed here
        return client
    except InputError as error:
        raise InputError(f"{error}. {ELSEWHERE}") from None
    except Exception as error:  # of any library below MLflow: drivers, SQLAlchemy, Alembic, the system
        raise InputError(f"{tracking_uri}: MLflow cannot open this store: {first_line(error)}. {ELSEWHERE}") from None


def open_store(tracking_uri: str, experiment_name: str) -> "tuple[MlflowClient, str]":
    """Create the store and the experiment if they are missing, and return client and the experiment's ID.

    Raises:
        InputError: the store cannot be opened, or does not take the experiment.
    """
    path = sqlite_path(tracking_uri)
    location = (path.parent / "artifacts").as_uri() if path else None
    from mlflow.exceptions import MlflowException

    client = open_client(tracking_uri)
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        try:
            return client, client.create_experiment(experiment_name, location)
        except MlflowException as error:  # another process of the sweep may have created it in the meantime
            experiment = client.get_experiment_by_name(experiment_name)
            if experiment is None:
                raise InputError(f"{tracking_uri}: {first_line(error)}. {ELSEWHERE}") from None
    _refuse_deleted(experiment, tracking_uri, "trainer.logger.experiment_name")
    return client, experiment.experiment_id


def require_reachable(tracking_uri: str) -> None:
    """Raise InputError for a server that does not answer, or a database that cannot be written, without MLflow."""
    if tracking_uri.startswith("http"):
        _check_server(without_user(tracking_uri))
    elif (path := sqlite_path(tracking_uri)) and path.exists():
        try:
            require_writable_database(path)
        except InputError as error:
            raise InputError(f"{error}. {ELSEWHERE}") from None


def require_store(tracking_uri: str, experiment_name: str) -> None:
    """Raise InputError if a run could not be recorded: neither its points, which a database takes, nor its files."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    client, experiment = open_store(tracking_uri, experiment_name)
    require_reachable(tracking_uri)
    place = client.get_experiment(experiment).artifact_location
    if is_local_uri(place):
        require_writable(Path(local_file_uri_to_path(place)), "another trainer.logger.experiment_name, or logger=none")


def _refuse_deleted(experiment: "Experiment", tracking_uri: str, key: str) -> None:
    """Raise InputError for an experiment that was deleted; `key`: the option that names another."""
    if experiment.lifecycle_stage != "active":
        restore = f"MLFLOW_TRACKING_URI={tracking_uri} mlflow experiments restore -x {experiment.experiment_id}"
        raise InputError(
            f"experiment {experiment.name} was deleted in {tracking_uri}: restore it ({restore}), or set "
            f"{key}=<another>"
        )


def _make(url: str) -> None:
    """Make the tables of MLflow in a database, and close it."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(url, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()


def _check_database(path: Path) -> None:
    """Raise InputError for a SQLite database that MLflow would break or could not open.

    MLflow adds the tables that a database lacks, and a database that it was interrupted in breaks for ever. It is left
    alone while another program, such as `mlflow ui`, is making it.
    """
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (registers the tables)
    from mlflow.store.db.base_sql_model import Base

    while missing := set(Base.metadata.tables) - (present := tables(path)):
        if time.time() - path.stat().st_mtime < QUIET:
            time.sleep(QUIET / 10)
        elif "experiments" in present and query(path, "SELECT * FROM experiments LIMIT 1"):
            raise InputError(
                f"{path} is of an earlier version of MLflow (it has no table {min(missing)}): make a copy of it, then "
                f"run `mlflow db upgrade sqlite:///{path}`"
            )
        else:
            raise InputError(
                f"{path} is incomplete (it has no table {min(missing)}) and holds no runs: MLflow was interrupted "
                "while it made it. Move it away; the next run makes a new one"
            )


def _check_server(server: str) -> None:
    """Check that a server answers; MLflow itself would retry for minutes."""
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"{server.rstrip('/')}/health", timeout=10).close()
    except urllib.error.HTTPError:
        pass  # it answers, if only to ask for credentials
    except OSError as error:
        raise InputError(
            f"no answer from the MLflow server at {server}: {error}. "
            "Start it, set another tracking_uri (trainer.logger.tracking_uri), or run with logger=none"
        ) from None


@contextmanager
def without_bars() -> Iterator[None]:
    """Switch off MLflow's progress bar for every file."""
    before = os.environ.get(BARS)
    os.environ[BARS] = "false"
    try:
        yield
    finally:
        del os.environ[BARS]
        os.environ.update({BARS: before} if before is not None else {})


def existing(tracking_uri: str) -> "MlflowClient":
    """Open the client of an existing store; InputError if it is missing."""
    path = sqlite_path(tracking_uri)
    if path and not path.exists():
        raise InputError(f"{path} is missing: train something first, or set tracking_uri to the store of your runs")
    return open_client(tracking_uri)


def search(
    client: "MlflowClient", tracking_uri: str, experiment_name: str, key: str = "experiment_name"
) -> "Iterator[Run]":
    """Yield finished runs, newest first, page by page; `key`: the option to name in an error.

    Raises:
        InputError: there is no such experiment, or it or all its finished runs were deleted.
    """
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        names = ", ".join(sorted(other.name for other in client.search_experiments()))
        raise InputError(f"{key}={experiment_name}: no such experiment in {tracking_uri}. Experiments: {names}")
    _refuse_deleted(experiment, tracking_uri, key)
    request = [experiment.experiment_id], "attributes.status = 'FINISHED'"
    order = ["attributes.start_time DESC"]
    token, found = None, False
    while True:
        page = client.search_runs(*request, order_by=order, page_token=token)
        yield from page
        token, found = page.token, found or bool(page)
        if not token:
            break
    if not found and (gone := client.search_runs(*request, ViewType.DELETED_ONLY, order_by=order)):
        raise InputError(
            f"every finished run of {experiment_name} was deleted in {tracking_uri}: restore them, for example the "
            f"newest (MLFLOW_TRACKING_URI={tracking_uri} mlflow runs restore --run-id {gone[0].info.run_id}), or train "
            "something first"
        )


def runs_of_sweep(runs: "Sequence[Run]", sweep: str, key: str = "sweep") -> "list[Run]":
    """Return the children of a parent run, given by ID or as `latest`; `key`: the option to name in an error."""
    parents = list(dict.fromkeys(run.data.tags[PARENT] for run in runs if PARENT in run.data.tags))  # newest first
    if not parents or sweep not in ("latest", *parents):
        raise InputError(f"{key}={sweep}: no finished run belongs to it. Sweeps: {', '.join(parents) or 'none'}")
    chosen = parents[0] if sweep == "latest" else sweep
    return [run for run in runs if run.data.tags.get(PARENT) == chosen]
