"""Work done ahead by threads."""

import threading
import time

import pytest

from mimii_pl.core.prefetch import prefetch


def test_results_are_in_order_and_a_bounded_number_is_begun():
    begun = []
    gate = threading.Event()

    def work(number):
        begun.append(number)
        if number == 0:
            gate.wait(10)  # the first is the slowest
        return -number

    results = prefetch(work, iter(range(100)), depth=5, threads=3)
    threading.Timer(0.2, gate.set).start()
    assert next(results) == 0
    time.sleep(0.05)
    assert max(begun) < 5
    assert list(results) == [-number for number in range(1, 100)]


@pytest.mark.parametrize("items", [0, 1, 7])
def test_fewer_items_than_are_done_ahead(items):
    assert list(prefetch(str, range(items), depth=8)) == list(map(str, range(items)))


def test_an_error_comes_with_its_item_and_what_waits_is_dropped():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        return 1 / (3 - number)

    results = prefetch(work, range(100), depth=50, threads=1)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) < 20
