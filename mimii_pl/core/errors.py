"""The error for unusable input. Its message names the input, the fault and the way out."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mimii_pl.core.addresses import without_password

MENDABLE = (  # errors of the system that a user can mend
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ENOTDIR),
)


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
    except (OSError, InputError) as error:  # an InputError may be what became of an OSError
        cause = error.__cause__ if isinstance(error, InputError) else error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(message) from None
        raise


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file of a run directory is read into one line that names the file."""
    try:
        if os.path.lexists(path) and not path.is_file():
            raise ValueError("it is no regular file, or a link to nothing")
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} would need more memory than there is: it is damaged, or was written on a machine with more memory"
        ) from None
    except FileNotFoundError:
        raise InputError(f"{path} is missing: take it from a copy of the run, or train again") from None
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:
        reason = one_line(error)[:200]
        raise InputError(f"{path} is damaged: {reason}. Take it from a copy of the run, or train again") from error


def explain_fault(error: BaseException) -> str | None:
    """Explain a fault of the system (disk, permission, memory) in one line; None for any other error."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in MENDABLE:
            return f"{cause.filename or 'writing'}: {cause.strerror}"
        if isinstance(cause, MemoryError) or "out of memory" in str(cause).lower() or "can't allocate" in str(cause):
            return (
                "there is not enough memory: a smaller dataset.batch_size, shorter clips (dataset.seconds) or fewer "
                f"workers need less ({first_line(cause)})"
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def one_line(error: BaseException) -> str:
    """Return an error's message with all its lines in one; its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the class names that SQLAlchemy puts before it.

    >>> first_line(ValueError("(sqlite3.OperationalError) disk I/O error\\n[SQL: INSERT ...]"))
    'disk I/O error'
    >>> first_line(MemoryError())
    'MemoryError'
    """
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\([\w.]+\) ", "", line) or type(error).__name__
