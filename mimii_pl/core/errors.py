"""The error for unusable input. Its message names the input, the fault and the way out."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mimii_pl.core.addresses import without_password


class InputError(ValueError):
    """Raised when something the user gave (a file, a folder, a config key) cannot be used.

    The message names it, says what is wrong and what to do; the command line prints it alone, without a stack trace.
    Passwords of addresses are hidden.
    """

    def __init__(self, message: object) -> None:
        super().__init__(without_password(str(message)))


@contextmanager
def full_disk_says(message: str) -> Iterator[None]:
    """Turn the error of a full disk or an exhausted quota into an InputError with this message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(message) from None
        raise


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the class names that SQLAlchemy puts before it.

    >>> first_line(ValueError("(sqlite3.OperationalError) disk I/O error\\n[SQL: INSERT ...]"))
    'disk I/O error'
    >>> first_line(MemoryError())
    'MemoryError'
    """
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\([\w.]+\) ", "", line) or type(error).__name__
