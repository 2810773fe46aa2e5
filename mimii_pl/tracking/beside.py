"""Let another process talk to MLflow: it imports MLflow while this one imports torch and opens the data."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mimii_pl.core.addresses import ADDRESSES
from mimii_pl.core.helper import Helper
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.requests import LIMITS
from mimii_pl.tracking.spool import Spool
from mimii_pl.tracking.store import open_client

_R = TypeVar("_R")
IMPORTED = ("mlflow", "mlflow.store.tracking.sqlalchemy_store")
PASSED_ON = (ADDRESSES, *LIMITS)  # what may change in the environment after the process was forked

_helper: Helper | None = None
_runs: dict[str, RemoteRun] = {}  # in that process: those it talks to, by their keys


@contextmanager
def importing_mlflow() -> Iterator[None]:
    """Have the functions of `there` called by another process while the block runs, where one can be forked."""
    global _helper
    with Helper(IMPORTED, shares=False) as helper:
        helper.start()
        _helper = helper
        try:
            yield
        finally:
            _helper = None


def there(function: Callable[..., _R], *args: Any) -> _R:
    """Return `function(*args)`, called by that process if there is one."""
    helper = _helper
    if helper is None:
        return function(*args)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return helper.ask(_in_environment, environment, function, *args)


def _in_environment(environment: dict[str, str], function: Callable[..., _R], *args: Any) -> _R:
    for name in PASSED_ON:
        os.environ.pop(name, None)
    os.environ.update(environment)
    return function(*args)


class RunThere:
    """A `RemoteRun` to which that process talks; or this one, where it was killed.

    An error that cannot be pickled is raised as one that says the same.
    """

    def __init__(self, remote: RemoteRun) -> None:
        self._remote, self._reached = remote, False
        self.tracking_uri, self.experiment_name, self.key = remote.tracking_uri, remote.experiment_name, remote.key

    @property
    def run_id(self) -> str | None:
        return self._remote.run_id

    @property
    def client(self) -> "_Client | None":
        """MLflow's client in this process; None as long as MLflow could not be reached."""
        return _Client(self.tracking_uri) if self._reached else None

    def open_run(self) -> str:
        return self._ask("open_run")

    def is_kept(self, files: set[str]) -> bool:
        return self._ask("is_kept", files)

    def close(self) -> None:
        self._ask("close")
        self._reached = False

    def send(self, spool: Spool) -> int:
        return self._ask("send", spool)

    def upload(self, path: Path, folder: str | None = None) -> None:
        self._ask("upload", path, folder)

    def end(self, status: str) -> None:
        self._ask("end", status)

    def _ask(self, method: str, *args: Any) -> Any:
        self._reached = False
        value, self._remote.run_id = there(_call, self._remote, method, *args)
        self._reached = True
        return value


class _Client:
    """MLflow's client, opened in this process when something is asked of it: Lightning takes it and asks nothing."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    @cached_property
    def opened(self) -> Any:
        return open_client(self.tracking_uri)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by `copy` and `pickle`
            raise AttributeError(name)
        return getattr(self.opened, name)


def _call(remote: RemoteRun, method: str, *args: Any) -> tuple[Any, str | None]:
    known = _runs.setdefault(remote.key, remote)
    return getattr(known, method)(*args), known.run_id


def run_there(remote: RemoteRun) -> "RemoteRun | RunThere":
    """Let the other process talk to a run, if there is one."""
    return remote if _helper is None else RunThere(remote)
