"""Computations shared among threads, each of which has one processor."""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import torch

from mimii_pl.core.prefetch import prefetch

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(work: Callable[[_T], _R], items: Iterable[_T], threads: int) -> Generator[_R]:
    """Yield `work(item)` for every item, in order, computed by threads.

    Each has one thread of torch, so that no sum is divided in another way where there are more or fewer of them.

    Args:
        threads: 1: none is started, and torch keeps those that it has.
    """
    if threads < 2:
        yield from map(work, items)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the threads of a pool take over what holds when they start
    try:
        yield from prefetch(work, items, depth=threads + 1, threads=threads)
    finally:
        torch.set_num_threads(before)
