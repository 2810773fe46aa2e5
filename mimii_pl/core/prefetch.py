"""Work done ahead of who waits for it, by threads, in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T, _R = TypeVar("T"), TypeVar("R")


def prefetch(work: Callable[[_T], _R], items: Iterable[_T], *, depth: int, threads: int | None = None) -> Iterator[_R]:
    """`map(work, items)`, begun before it is asked for.

    Args:
        depth: results begun or waiting at a time: bounds the memory, however many items there are.
        threads: None: as many as there are cores.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # whoever asked has gone away
                future.cancel()
