"""The error for unusable input. Its message names the input, the fault and the way out."""

import errno
import os
import re
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mimii_pl.core.addresses import without_password

MENDABLE = (  # errors of the system that a user can mend
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP),
)
FULL = (errno.ENOSPC, errno.EDQUOT)
WAYS_OUT = {  # of errors in writing
    **dict.fromkeys(FULL, "Free some space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Allow writing there"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "Move away what is in its place"),
}


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
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise InputError(message) from None
        raise


def not_written(path: Path, error: OSError, instead: str = "") -> InputError:
    """Return the error for a file or folder that cannot be written, with the way out where there is one.

    Args:
        instead: option that names another place, as one types it; empty: there is none, or the work is half done.
    """
    ways_out = [WAYS_OUT[error.errno]] if error.errno in WAYS_OUT else []
    if instead:
        ways_out.append(f"or set {instead}" if ways_out else f"Set {instead}")
    elif ways_out:
        ways_out.append("and start the same command again")
    way_out = f". {', '.join(ways_out)}" if ways_out else ""
    return InputError(f"{path} cannot be written: {error.strerror or error}{way_out}")


@contextmanager
def damaged(path: Path, code: Collection[type] = ()) -> Iterator[None]:
    """Turn whatever goes wrong while a file of a run directory is read into one line that names the file.

    Args:
        code: classes that read it. An error inside a class of another package than this one is an error of that code,
            and stays as it is, with its traceback.
    """
    try:
        if os.path.lexists(path) and not path.is_file():
            raise ValueError("it is no regular file, or a link to nothing")
        yield
    except Exception as error:
        if isinstance(error, InputError) or _is_raised_by(code, error):
            raise
        if isinstance(error, MemoryError):
            raise InputError(
                f"{path} would need more memory than there is: it is damaged, or was written on a machine with more "
                "memory"
            ) from None
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{path} is missing: take it from a copy of the run, or train again") from None
        if isinstance(error, PermissionError):
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        reason = one_line(error)[:200]
        raise InputError(f"{path} is damaged: {reason}. Take it from a copy of the run, or train again") from error


def _is_raised_by(code: Collection[type], error: BaseException) -> bool:
    """Return whether an error went through code of the packages of these classes; this package does not count."""
    own = __name__.partition(".")[0]
    foreign = {kind.__module__.partition(".")[0] for kind in code} - {own}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).partition(".")[0] in foreign for frame in frames)


def explain_fault(error: BaseException, instead: str = "") -> str | None:
    """Explain a fault of the system (disk, permission, memory) in one line; None for any other error.

    Args:
        instead: option that names another place, if the fault is in writing, see `not_written`.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in MENDABLE:
            if instead and cause.filename and cause.errno in WAYS_OUT:
                return str(not_written(Path(os.fsdecode(cause.filename)), cause, instead))
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
    text = re.sub(r"^\(raised as a result of [^\n]*\)\n", "", str(error).strip())
    line = text.partition("\n")[0]
    return re.sub(r"^\([\w.]+\) ", "", line) or type(error).__name__
