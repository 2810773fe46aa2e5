"""Run code that hostile input may mislead: in a forked process with limits, and with a record of what it did.

A `Warm` process has the libraries imported and has done the work once, so that a process forked from it answers in a
fraction of a second. Linux only: it needs fork, limits of address space, and handles of processes.
"""

import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from support.cli import warm_context

MARK = "canary_of_the_attack"  # in every payload, and in the name of every file that nobody may touch
SECRET = "MIMII_PL_ATTACK_SECRET"  # an environment variable that must not be shown or stored
CRASHED = 70  # exit status after an exception that nobody caught
STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "ctypes.dlopen"}
CHANGES = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *("shutil.rmtree", "shutil.move", "sqlite3.connect"),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Ended(NamedTuple):
    """End of a confined process.

    Attributes:
        code: exit status; negative: the signal that killed it; None: it was killed at its time limit.
        out, err: the text that it printed.
        deeds: what it did that it must not, one line each.
    """

    code: int | None
    out: str
    err: str
    deeds: list[str]


class Job(NamedTuple):
    """A function to call in a confined process, and the limits: see `Warm.call`."""

    function: Callable[..., Any]
    args: tuple
    folder: Path
    notes: Path
    seconds: float
    memory: int | None


class Warm:
    """A process of which confined ones are forked.

    Args:
        warm_up: work that is done once, so that its imports are not repeated; a function of a module.
        args: its arguments.
    """

    def __init__(self, warm_up: Callable[..., Any], *args: Any) -> None:
        context: Any = warm_context()
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, warm_up, args), daemon=True)
        self.process.start()
        other.close()
        assert self.connection.recv() == "ready"

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        folder: Path,
        notes: Path,
        seconds: float,
        memory: int | None = None,
    ) -> Ended:
        """Call a function of a module in a new process and wait for its end.

        Args:
            folder: its working folder, and the only place where it may write.
            notes: an existing folder outside of it, for what it prints.
            seconds: wall-clock limit; then it is killed with all that it started.
            memory: limit of address space in bytes, above that of the warm process; None: no limit.
        """
        self.connection.send(Job(function, args, folder, notes, seconds, memory))
        return self.connection.recv()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join()


def _serve(connection: Any, warm_up: Callable[..., Any], args: tuple) -> None:
    warm_up(*args)
    connection.send("ready")
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(_forked(job))


def _forked(job: Job) -> Ended:
    files = [job.notes / name for name in ("out", "err", "deeds")]
    for file in files:
        file.write_bytes(b"")
    child = os.fork()
    if child == 0:
        _be_confined(job, files)
    handle = os.pidfd_open(child)
    hung = not select.select([handle], [], [], job.seconds)[0]
    os.close(handle)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # it, if it still runs, and what it started
    _, status = os.waitpid(child, 0)
    out, err, deeds = (file.read_text(errors="surrogateescape") for file in files)
    code = None if hung else os.waitstatus_to_exitcode(status)
    return Ended(code, out, err, deeds.splitlines())


def _be_confined(job: Job, files: Sequence[Path]) -> None:
    """Body of the forked process, which it never leaves."""
    code = CRASHED
    try:
        os.setsid()
        descriptors = [os.open(file, os.O_WRONLY | os.O_APPEND) for file in files]
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        if job.memory is not None:
            limit = _address_space() + job.memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        os.chdir(job.folder)
        home = job.folder / "home"
        home.mkdir(exist_ok=True)
        os.environ |= {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
        tempfile.tempdir = None  # the module remembers the folder
        os.environ[SECRET] = SECRET.lower()
        sys.path.insert(0, str(job.folder))
        sys.dont_write_bytecode = True
        sys.addaudithook(_watch(os.path.realpath(job.folder), descriptors[2]))
        job.function(*job.args)
        code = 0
    except SystemExit as end:  # as the interpreter does
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            os.write(2, f"{end.code}\n".encode(errors="backslashreplace"))
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _watch(folder: str, notes: int) -> Callable[[str, tuple], None]:
    """Return an audit hook that notes the start of a payload, and changes outside of a folder."""

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            bad = isinstance(path, str | bytes) and bool(flags & WRITING) and _outside(path, folder)
        elif event in CHANGES:
            changed = args[1:] if event == "os.symlink" else args  # a link may say anything
            bad = any(isinstance(item, str | bytes) and _outside(item, folder) for item in changed)
        elif event == "exec":
            bad = _marked(args[0])
        elif event == "import" or event in STARTS:
            bad = MARK in repr(args)
        elif event == "socket.connect":
            bad = isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1", "localhost")
        else:
            return
        if bad:
            os.write(notes, f"{event} {args!r:.200}\n".encode(errors="backslashreplace"))

    return hook


def _outside(path: str | bytes, folder: str) -> bool:
    try:
        place = os.path.realpath(os.fsdecode(path))
    except ValueError:  # no path
        return False
    return not place.startswith((f"{folder}/", "/dev/")) and place != folder and ":memory:" not in place


def _marked(code: Any) -> bool:
    consts = getattr(code, "co_consts", ())
    return MARK in repr(consts) or any(_marked(const) for const in consts if hasattr(const, "co_consts"))
