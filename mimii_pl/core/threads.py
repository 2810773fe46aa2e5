"""Computations shared among threads, each of which has one processor."""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from mimii_pl.core.prefetch import prefetch

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Generator[_R]:
    """Yield `work(item)` for every item, in order, computed by threads.

    Each has one thread of torch and of numpy's libraries, so that results do not depend on their number.

    Args:
        threads: 1: none is started, and the libraries keep theirs.
    """
    if threads < 2:
        yield from map(work, items)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the threads of a pool take over what holds when they start
    try:
        with threadpool_limits(1, "blas"):
            yield from prefetch(work, items, depth=threads + 1, threads=threads)
    finally:
        torch.set_num_threads(before)
