"""Garbage collection that leaves out imported libraries: they are no garbage, and looking through them takes seconds.

Measured on two cores: the imports of a training take 3.4 s instead of 4.8 s, and the end of its process .2 s instead of
1.4 s.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage in the block until `imported` is called, nor at the end of the process."""
    enabled = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def imported() -> None:
    """Collect garbage from now on, among what is allocated from now on."""
    if not gc.isenabled():
        if not gc.get_freeze_count():  # later on, a run that has ended would be kept as well
            gc.freeze()
        gc.enable()
