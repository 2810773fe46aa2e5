"""Send the points of a run to MLflow in the background, while it trains."""

import logging
import threading

from mimii_pl.tracking.beside import RunThere
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.requests import brief_requests, reason
from mimii_pl.tracking.spool import Spool

log = logging.getLogger(__name__)
PERIOD = 2.0  # s between two batches
PAUSE = 5.0  # s after MLflow has not answered


class Sender:
    """A thread that sends what is new in a spool; while MLflow does not answer it tries again, and nothing waits."""

    def __init__(self, remote: RemoteRun | RunThere, spool: Spool) -> None:
        self.remote, self.spool = remote, spool
        self._stopped, self._is_down = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Send the rest, unless MLflow does not answer, and stop; this takes as long as a request, seconds."""
        self._stopped.set()
        self._thread.join()
        if not self._is_down:
            self._send()

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE if self._is_down else PERIOD):
            self._send()

    def _send(self) -> None:
        try:
            with brief_requests(10):
                count = self.remote.send(self.spool)
        except Exception as error:  # of MLflow or any library below it: recording must not end a run
            self.remote.close()
            if not self._is_down:
                log.warning(
                    "%s: %s; training goes on, its points are kept in %s and sent later",
                    self.remote.tracking_uri,
                    reason(error),
                    self.spool.path,
                )
            self._is_down = True
        else:
            if self._is_down:
                log.info("%s answers again: %d points sent", self.remote.tracking_uri, count)
            self._is_down = False
