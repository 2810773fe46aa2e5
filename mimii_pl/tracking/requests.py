"""Requests to an MLflow server: credentials, time limits, and the reason of a failure."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote, urlsplit

from mimii_pl.core.addresses import HIDDEN, whole_address
from mimii_pl.core.errors import first_line

ELSEWHERE = "Or set another tracking_uri (trainer.logger.tracking_uri), or run with logger=none"
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
LIMITS = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
_users_own: dict[str, str | None] = {}  # what the user had set, while those of an address are in their place
_brief = threading.RLock()


@contextmanager
def brief_requests(seconds: int) -> Iterator[None]:
    """Let requests of MLflow fail after seconds, not minutes; values that the user has set stay."""
    values = dict(zip(LIMITS, ("0", str(seconds)), strict=True))
    with _brief:
        added = values.keys() - os.environ.keys()
        os.environ.update({name: values[name] for name in added})
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


def give_credentials(tracking_uri: str) -> str | None:
    """Give user and password of a server's address to MLflow, which takes them from the environment.

    Returns:
        The address without them; None if its password is not known. MLflow sends no user without a password: a token
        alone stays in the address, and MLflow is kept from printing it.
    """
    for name, value in _users_own.items():  # those of an earlier address are for that server only
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})
    _users_own.clear()
    user, password = map(os.environ.get, CREDENTIALS)
    address = whole_address(tracking_uri)
    if address is None and password and (user or HIDDEN not in (urlsplit(tracking_uri).username or HIDDEN)):
        return without_user(tracking_uri) if user else give_credentials(tracking_uri.replace(HIDDEN, quote(password)))
    if address is None or not (parts := urlsplit(address)).username:
        return address
    if not parts.password:
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        return address
    _users_own.update({name: os.environ.get(name) for name in CREDENTIALS})
    os.environ.update(zip(CREDENTIALS, (unquote(parts.username), unquote(parts.password)), strict=True))
    return without_user(address)


def without_user(address: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def reason(error: Exception) -> str:
    """Return the cause of an error of MLflow, without the layers of libraries that report it.

    >>> reason(ValueError("API request failed: HTTPConnectionPool(...): (Caused by NewConnectionError('...: Failed to "
    ... "establish a new connection: [Errno 111] Connection refused'))"))
    'Connection refused'
    """
    text = first_line(error).removesuffix(f". {ELSEWHERE}")
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)|(Read timed out|timed out|database is locked)", text):
        return next(filter(None, found.groups()))
    causes = re.findall(r"'([^']+)'", text.partition("Caused by")[2])
    return causes[-1] if causes else text
