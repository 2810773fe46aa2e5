"""Limits of what a client may send, and the answer beyond them: a status, the name of the limit and its value."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

MOST_CLIENTS = 10_000  # whose requests of the last minute are remembered
MINUTE = 60.0  # s
UPLOAD_SECONDS = 120.0  # s that a body may take to arrive
MOST_CHANNELS = 64  # of a recording


class Refused(Exception):  # noqa: N818  (an answer, always caught)
    """A request that is not served.

    Attributes:
        status: of HTTP.
        reason: what is wrong, and the way out.
        limit: name of the limit that is exceeded; None: none is.
        allowed: its value.
    """

    def __init__(self, status: int, reason: str, limit: str | None = None, allowed: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.limit, self.allowed = status, reason, limit, allowed


class RequestLimits(NamedTuple):
    """Limits of what a client may send.

    Attributes:
        megabytes: of a request.
        seconds: of a recording.
        files: of a request.
        concurrency: requests with sound at a time, of all clients.
        per_minute: requests with sound of a client; None: any number.
    """

    megabytes: float = 64
    seconds: float = 600
    files: int = 32
    concurrency: int = 32
    per_minute: int | None = None

    @property
    def bytes(self) -> int:
        """Size of a request."""
        return int(self.megabytes * 1e6)

    def refuse_size(self) -> Refused:
        """Make the answer to a body that is too large."""
        reason = f"the request is larger than {self.megabytes:g} MB: send fewer or shorter recordings, or FLAC"
        return Refused(413, reason, "megabytes", self.megabytes)

    def refuse_length(self) -> Refused:
        """Make the answer to a recording that is too long."""
        reason = f"a recording is longer than {self.seconds:g} s: send it in parts"
        return Refused(422, reason, "seconds", self.seconds)


class Gate:
    """Counts the requests with sound that are in progress, and those of each client in the last minute."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits, self.open = limits, 0
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    @contextmanager
    def passed(self, client: str) -> Iterator[None]:
        """Let a request of a client pass.

        Raises:
            Refused: it is one too many.
        """
        limits = self.limits
        if self.open >= limits.concurrency:
            reason = f"{limits.concurrency} requests are in progress: try again"
            raise Refused(429, reason, "concurrency", limits.concurrency)
        if limits.per_minute is not None:
            self._count(client, limits.per_minute)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def _count(self, client: str, allowed: int) -> None:
        now = time.monotonic()
        times = self._times.setdefault(client, deque())
        self._times.move_to_end(client)
        if len(self._times) > MOST_CLIENTS:
            self._times.popitem(last=False)
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= allowed:
            raise Refused(429, f"more than {allowed} requests in a minute: try again later", "per_minute", allowed)
        times.append(now)
