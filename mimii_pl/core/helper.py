"""A second process that works beside this one: Python computes on one processor per process.

It is forked, so that it starts at once, with everything that is imported and open.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from importlib import import_module
from typing import Any, Generic, Self, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from mimii_pl.core import garbage
from mimii_pl.core.process import exit_with_parent

_R = TypeVar("_R")


class Pending(Generic[_R]):
    """The result of a call that the helper computes, or this process if the helper has not begun when it is needed.

    Args:
        call: computes it here.
        future: of the helper; None: it is computed here.
    """

    def __init__(self, call: Callable[[], _R], future: Future[_R] | None) -> None:
        self._call, self._future = call, future
        self._told: Callable[[_R], Any] = lambda _: None

    def result(self) -> _R:
        """Wait for the result, or compute it here if the helper has not begun, or was killed by a lack of memory."""
        if self._future is not None and not self._future.cancel():
            with suppress(BrokenExecutor):
                return self._future.result()
        value = self._call()
        self._future = Future()
        self._future.set_result(value)
        self._told(value)
        return value

    def then(self, function: Callable[[_R], Any]) -> None:
        """Call `function(result)` as soon as the result is there, in a thread if the helper computes it."""
        self._told = function
        if self._future is None:
            self.result()
        else:
            self._future.add_done_callback(self._tell)

    def _tell(self, future: Future[_R]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._told(future.result())


class Helper:
    """Computes calls one after another while this process goes on; where it cannot be forked, nothing runs beside.

    Functions and arguments are pickled, and so are results; `given` is not. Calls must not use torch, whose threads do
    not survive a fork.

    Attributes:
        given: what calls of `submit_given` work on, as it is when the first call is submitted.
    """

    given: Any = None

    def __init__(self) -> None:
        self._submitted: list[Pending[Any]] = []

    def __enter__(self) -> Self:
        global _at_hand
        _at_hand = _at_hand or self
        return self

    def __exit__(self, *error: Any) -> None:
        global _at_hand
        _at_hand = None if _at_hand is self else _at_hand
        if pool := self.__dict__.get("_pool"):
            pool.shutdown(cancel_futures=True)

    @cached_property
    def _pool(self) -> ProcessPoolExecutor | None:
        if not _has_room() or multiprocessing.current_process().daemon:  # which may not have children
            return None
        fork = multiprocessing.get_context("fork")
        pool = ProcessPoolExecutor(1, fork, initializer=_begin, initargs=(self.given,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: there may be threads already
            pool.submit(int)  # forks
        return pool

    def submit(self, function: Callable[..., _R], *args: Any) -> Pending[_R]:
        """Have `function(*args)` computed."""
        return self._submit(partial(function, *args), function, *args)

    def submit_given(self, function: Callable[..., _R], *args: Any, here: bool = False) -> Pending[_R]:
        """Have `function(given, *args)` computed; `here`: by this process, as it takes less time than a helper."""
        call = partial(function, self.given, *args)
        return self._owe(Pending(call, None)) if here else self._submit(call, _with_given, function, *args)

    def _submit(self, call: Callable[[], _R], *task: Any) -> Pending[_R]:
        future = None
        with suppress(RuntimeError):  # it was killed, or has ended in another thread
            future = self._pool.submit(*task) if self._pool else None
        return self._owe(Pending(call, future))

    def _owe(self, pending: Pending[_R]) -> Pending[_R]:
        self._submitted.append(pending)
        return pending

    def import_ahead(self, modules: Sequence[str]) -> None:
        """Have modules imported that later calls need."""
        if self._pool is not None:
            with suppress(BrokenExecutor):
                for module in modules:
                    self._pool.submit(import_module, module)

    def wait(self) -> None:
        """Wait for all that was submitted.

        Raises:
            Exception: the first one that a call raised.
        """
        while self._submitted:
            self._submitted.pop().result()


def _has_room() -> bool:
    """Return whether there is a processor for a helper, which joblib and Ray do not leave to their workers."""
    linux = sys.platform == "linux"  # elsewhere libraries do not survive a fork
    return linux and len(os.sched_getaffinity(0)) > 1 and os.environ.get("OMP_NUM_THREADS") != "1"


_given: Any = None
_at_hand: Helper | None = None  # the first one in use


@contextmanager
def started_ahead(modules: Sequence[str]) -> Iterator[None]:
    """Start a helper that imports modules while this process imports its own, for `helper` in the block."""
    with Helper() as ahead:
        ahead.import_ahead(modules)
        yield


@contextmanager
def helper() -> Iterator[Helper]:
    """Yield the helper that was started first, or else a new one."""
    if _at_hand is not None:
        yield _at_hand
        return
    with Helper() as new:
        yield new


def _begin(given: Any) -> None:
    """Begin the helper's process."""
    global _given
    _given = given
    garbage.inherited()
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"  # of libraries that are imported later
    threadpool_limits(1)
    threading.Thread(target=exit_with_parent, daemon=True).start()


def _with_given(function: Callable[..., _R], *args: Any) -> _R:
    return function(_given, *args)
