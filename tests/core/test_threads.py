"""Work shared among threads: its order, what each thread may use, and what is left behind."""

import threading
from contextlib import closing

import pytest
import torch

from mimii_pl.core.threads import in_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_keep_the_order_of_the_items(threads):
    release = threading.Event()

    def slow_first(item):
        if item == 0 and threads > 1:
            release.wait(30)
        release.set()
        return item * item

    assert list(in_threads(slow_first, range(20), threads)) == [item * item for item in range(20)]


def test_each_thread_has_one_thread_of_torch_and_the_caller_its_own_again():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        met = threading.Barrier(2, timeout=30)  # both work at the same time

        def threads_here(_):
            met.wait()
            return threading.get_ident(), torch.get_num_threads()

        found = list(in_threads(threads_here, range(2), 2))
        assert len({thread for thread, _ in found}) == 2
        assert [number for _, number in found] == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_few_results_wait():
    begun = []
    with closing(in_threads(begun.append, iter(range(100)), 2)) as made:
        next(made)
        assert len(begun) <= 3
    assert len(begun) <= 3


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [1, 0, 1], 2))
