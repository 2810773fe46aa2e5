"""An MLflow run with its spool: what a run and a sweep have in common."""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.tracking.beside import RunThere, there
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.requests import ELSEWHERE, brief_requests, reason
from mimii_pl.tracking.sender import Sender
from mimii_pl.tracking.spool import Spool
from mimii_pl.tracking.store import require_reachable, require_store

log = logging.getLogger(__name__)
Attachment = tuple[Path, str | None]  # a file, and its folder among the artifacts


class RunRecord:
    """Record into an MLflow run. MLflow is asked for seconds; any error becomes a warning.

    Args:
        remote: the MLflow run.
        folder: directory of the run or sweep, with its spool.
        note: keeps facts in that directory: the run's key and its ID.
        strict: raise InputError instead of warning.
    """

    def __init__(
        self, remote: RemoteRun | RunThere, folder: Path, note: Callable[..., None], *, strict: bool = False
    ) -> None:
        self.remote, self.folder, self.note, self.strict = remote, folder, note, strict
        self.spool, self.sent = Spool(folder), 0  # points that the end has sent
        self._opened: Future[None] | None = None

    @property
    def later(self) -> str:
        """Say how MLflow gets what it lacks."""
        return f"`mimii record {shlex.quote(f'run={self.folder}')}` sends later what it lacks"

    def open_store(self) -> None:
        """Open the store in a thread, since MLflow takes seconds; raise InputError at once if it cannot be reached."""
        with self.trying(""):
            require_reachable(self.remote.tracking_uri)
        pool = ThreadPoolExecutor(1, "mlflow")
        self._opened = pool.submit(self._require_store)
        pool.shutdown(wait=False)

    def require_store(self) -> None:
        """Wait for the store; raise InputError if it cannot be opened, or takes no run."""
        if self._opened is not None:
            self._opened.result()

    def _require_store(self) -> None:
        with self.trying(""):
            there(require_store, self.remote.tracking_uri, self.remote.experiment_name)

    def is_kept(self, files: Iterable[Attachment], folders: Iterable[str] = ()) -> bool:
        """Return whether MLflow has the run, with these files and folders.

        If it does not answer, the answer is False too, unless strict.
        """
        with self.trying("whether it has all of this run is not known"):
            return self.remote.is_kept({place or path.name for path, place in _regular(files)} | {*folders})
        return False

    def start(self) -> None:
        """Open the MLflow run, or continue it. Its key is noted first, so that a kill leaves none that is not found."""
        self.require_store()
        self.note(mlflow_key=self.remote.key)
        with self.trying(f"what it lacks is kept in {self.folder} and sent later"):
            self._open()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send points while the block runs, in a thread."""
        sender = Sender(self.remote, self.spool)
        sender.start()
        try:
            yield
        finally:
            sender.stop()
            if self.remote.run_id:
                self.note(mlflow_run_id=self.remote.run_id)

    def end(self, status: str, files: Iterable[Attachment] = (), folders: Iterable[Path] = ()) -> None:
        """Send the rest, store files and whole folders, and end the run as `FINISHED`, `FAILED` or `KILLED`."""
        with self.trying(self.later):
            self.remote.close()  # a server that does not answer is noticed sooner on opening than in the middle
            run_id = self._open()
            self.sent = self.remote.send(self.spool)
            for path, place in _regular(files):
                self.remote.upload(path, place)
            for folder in folders:
                self.remote.upload(folder)
            self.remote.end(status)
            self.spool.mark_sent(run_id, status=status)

    def _open(self) -> str:
        run_id = self.remote.open_run()
        self.note(mlflow_run_id=run_id)
        self.spool.mark_sent(run_id)
        return run_id

    @contextmanager
    def trying(self, consequence: str) -> Iterator[None]:
        """Ask MLflow for something; an error becomes a warning with this consequence, or an InputError if strict."""
        try:
            with brief_requests(60):  # s to store a file; opening finds out before whether MLflow answers
                yield
        except Exception as error:  # of MLflow or any library below it: recording must not end a run
            self.remote.close()
            if isinstance(error, InputError) and self.strict:
                raise
            message = f"MLflow at {self.remote.tracking_uri}: {reason(error)}"
            if self.strict:
                raise InputError(f"{message}. {ELSEWHERE}") from None
            log.warning("%s: %s", message, consequence)


def _regular(files: Iterable[Attachment]) -> Iterator[Attachment]:
    """Yield the files that exist; a link could lead to any file of this computer."""
    return (file for file in files if file[0].is_file() and not file[0].is_symlink())
