"""The error for unusable input. Its message names the input, the fault and the way out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Raised when something the user gave (a file, a folder, a config key) cannot be used.

    The message names it, says what is wrong and what to do; the command line prints it alone, without a stack trace.
    """


@contextmanager
def full_disk_says(message: str) -> Iterator[None]:
    """Turn the error of a full disk or an exhausted quota into an InputError with this message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(message) from None
        raise
