"""Compute results ahead of their consumer, in threads."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, takewhile
from typing import Any, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def prefetch(work: Callable[[_T], _R], items: Iterable[_T], *, depth: int, threads: int | None = None) -> Generator[_R]:
    """Yield `work(item)` for every item, in order, computed ahead by threads.

    Args:
        depth: results in progress or waiting at a time: bounds the memory, however many items there are.
        threads: None: one per core.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # the consumer stopped early, or an item failed
                future.cancel()


def read_ahead(items: Iterator[_T], *, depth: int) -> Iterator[_T]:
    """Yield the items of an iterator, which a thread advances ahead; `depth` as for `prefetch`."""
    end: Any = object()
    found = prefetch(lambda _: next(items, end), count(), depth=depth, threads=1)
    yield from takewhile(lambda item: item is not end, found)
