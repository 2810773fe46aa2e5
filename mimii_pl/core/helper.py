"""Processes that work beside this one: Python computes on one processor per process.

They are forked, so that they start at once, with everything that is imported and open.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, Self, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from mimii_pl.core import garbage
from mimii_pl.core.process import attempt, exit_with_parent, outcome_of

_R = TypeVar("_R")
DRAWING = 2  # processes that are started ahead; while they draw a page, this one waits


class _DiedError(Exception):
    """Raised when a process of the helper was killed, as by a lack of memory."""


class _Call(NamedTuple):
    """A call that is computed here or, pickled, in the helper's process.

    Attributes:
        needs_given: its first argument is what the helper was given, in either process.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    needs_given: bool = False

    def compute(self, given: Any) -> Any:
        return self.function(given, *self.args) if self.needs_given else self.function(*self.args)


class Pending(Generic[_R]):
    """The result of a call that the helper computes, or this process if the helper has not begun when it is needed.

    Args:
        call: computes it here.
        awaited: whether the helper will compute it, so that this process only waits.
    """

    def __init__(self, call: Callable[[], _R], awaited: Callable[[], bool]) -> None:
        self._call, self._awaited = call, awaited
        self._begun, self._future = threading.Lock(), Future[_R]()

    def compute(self, compute: Callable[[], _R]) -> None:
        """Compute the result in this way, unless that has begun already."""
        if self._begun.acquire(blocking=False):
            try:
                self._future.set_result(compute())
            except _DiedError:
                self._begun.release()  # whoever needs it computes it, who may hold locks that another thread would need
            except BaseException as error:
                self._future.set_exception(error)

    def result(self) -> _R:
        """Compute the result here, or wait for it if the helper has begun or computes all."""
        while not self._future.done():
            if not self._awaited():
                self.compute(self._call)
            wait_for([self._future], timeout=0.1)  # then look whether the helper is still there
        return self._future.result()

    def then(self, function: Callable[[_R], Any]) -> None:
        """Call `function(result)` as soon as the result is there, in the thread that gets it; not after an error."""
        self._future.add_done_callback(lambda done: function(done.result()) if done.exception() is None else None)


class Helper:
    """Has calls computed by processes, each one after another, while this one goes on; where none can be forked, by it.

    Functions and arguments are pickled, and so are results. Calls must not use torch, whose threads do not survive a
    fork. If one of the helper's processes is killed, this one computes what they owe.

    Args:
        modules: which it imports before its first call.
        processes: that share its calls and what it has imported.
        shares: True: this process computes what none of them has begun when it is needed; False: it waits.
    """

    def __init__(self, modules: Sequence[str] = (), processes: int = 1, *, shares: bool = True) -> None:
        self.modules, self.processes, self.shares = modules, processes, shares
        self._given: Any = None
        self._owed: list[Pending[Any]] = []
        self._waiting: SimpleQueue[tuple[_Call, Pending[Any]] | None] = SimpleQueue()
        self._process: Any = None
        self._threads: list[threading.Thread] = []  # each has a process compute calls
        self._ids: list[int] = []  # of the processes
        self._ended = False

    def __enter__(self) -> Self:
        global _at_hand
        _at_hand = _at_hand or self
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        global _at_hand
        _at_hand = None if _at_hand is self else _at_hand
        self._ended = True
        if self._process is not None:
            if error is not None:  # nobody waits for what they are computing
                for process in self._ids:
                    _kill(process)
            if error is not None or not self._ids:
                self._process.kill()  # it is importing
            self._waiting.put(None)
            for thread in self._threads:
                thread.join()
            self._process.kill()
            self._process.join()

    @property
    def is_running(self) -> bool:
        """Return whether something runs beside this process; else results are computed when they are needed."""
        return self._process is not None and not self._ended

    def start(self, given: Any = None, *, beside: bool = True) -> None:
        """Fork the processes, before the first call.

        Args:
            given: first argument of the calls of `submit_given`, as it is now; it is not pickled.
            beside: False: fork none.
        """
        self._given = given
        if not beside or not _has_processor() or multiprocessing.current_process().daemon:  # it may not have children
            return
        fork: Any = multiprocessing.get_context("fork")
        pipes = [fork.Pipe() for _ in range(self.processes)]
        self._process = fork.Process(target=_serve, args=([its_end for _, its_end in pipes], given, self.modules))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: there may be threads already
            self._process.start()
        for connection, its_end in pipes:
            its_end.close()
            self._threads.append(threading.Thread(target=self._work, args=(connection,), name="helper", daemon=True))
            self._threads[-1].start()

    def submit(self, function: Callable[..., _R], *args: Any) -> Pending[_R]:
        """Have `function(*args)` computed."""
        self._owed.append(self._submit(_Call(function, args)))
        return self._owed[-1]

    def submit_given(self, function: Callable[..., _R], *args: Any) -> Pending[_R]:
        """Have `function(given, *args)` computed."""
        self._owed.append(self._submit(_Call(function, args, needs_given=True)))
        return self._owed[-1]

    def ask(self, function: Callable[..., _R], *args: Any) -> _R:
        """Have `function(*args)` computed, and return the result."""
        return self._submit(_Call(function, args)).result()

    def _submit(self, call: _Call) -> Pending[Any]:
        pending: Pending[Any] = Pending(partial(call.compute, self._given), self._is_waited_for)
        if self.is_running:
            self._waiting.put((call, pending))
        return pending

    def wait(self) -> None:
        """Wait for all that was submitted.

        Raises:
            Exception: the first one that a call raised.
        """
        while self._owed:
            self._owed.pop().result()

    def _is_waited_for(self) -> bool:
        return self.is_running and not self.shares

    def _work(self, connection: Connection) -> None:
        """Have calls computed by one of the processes, in a thread, and end it."""
        with connection:
            try:
                process = connection.recv()
            except (EOFError, OSError):  # killed while it imported
                self._ended = True
                return
            self._ids.append(process)
            while (item := self._waiting.get()) is not None and not self._ended:
                call, pending = item
                pending.compute(partial(self._ask, connection, call))
            self._waiting.put(None)  # for the next thread
            _kill(process)

    def _ask(self, connection: Connection, call: _Call) -> Any:
        try:
            connection.send(call)
            outcome = connection.recv()
        except (EOFError, OSError):
            self._ended = True  # all that is waiting is computed where it is needed
            raise _DiedError from None
        return outcome_of(outcome)


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):  # it is dead
        os.kill(process, signal.SIGKILL)


def _has_processor() -> bool:
    """Return whether there is a processor for a helper, which joblib and Ray do not leave to their workers."""
    linux = sys.platform == "linux"  # elsewhere libraries do not survive a fork
    return linux and len(os.sched_getaffinity(0)) > 1 and os.environ.get("OMP_NUM_THREADS") != "1"


_at_hand: Helper | None = None  # the first one in use


@contextmanager
def started_ahead(modules: Sequence[str]) -> Iterator[None]:
    """Start a helper that imports modules while this process imports its own, for `helper` in the block."""
    with Helper(modules, DRAWING, shares=False) as ahead:
        ahead.start()
        yield


@contextmanager
def helper() -> Iterator[Helper]:
    """Yield the helper that was started first, or else a new one."""
    if _at_hand is not None:
        yield _at_hand
        return
    with Helper() as new:
        new.start()
        yield new


def _serve(connections: Sequence[Connection], given: Any, modules: Sequence[str]) -> None:
    """Compute calls in the helper's processes, one per connection, until they are killed."""
    garbage.inherited()
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # of libraries that are imported later
    threadpool_limits(1)
    threading.Thread(target=exit_with_parent, daemon=True).start()
    for module in modules:
        import_module(module)
    own, *others = connections
    for connection in others:
        if os.fork() == 0:
            own = connection
            threading.Thread(target=exit_with_parent, daemon=True).start()  # no thread survives a fork
            break
    for connection in connections:
        if connection is not own:
            connection.close()
    own.send(os.getpid())
    while True:
        call: _Call = own.recv()
        own.send(attempt(call.compute, given))
