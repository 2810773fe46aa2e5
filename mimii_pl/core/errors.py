"""The one error that means: the input is wrong, here is which one, what is wrong with it and the way out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave (a file, a folder, a config key) cannot be used.

    The message names it, says what is wrong and how to go on; the command line prints it alone, without a stack trace.
    """


@contextmanager
def full_disk_says(message: str) -> Iterator[None]:
    """Turn the error of a full disk, or quota, into an InputError with this message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(message) from None
        raise
