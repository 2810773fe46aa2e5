"""Garbage collection that leaves out imported libraries: they are no garbage, and looking through them takes seconds.

Measured on two cores: the imports of a training take 3.4 s instead of 4.8 s, and the end of its process .2 s instead of
1.4 s.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_paused = False


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage in the block until `imported` is called, nor at the end of the process.

    Nothing changes in a process that has imported torch before: what it holds besides is not ours to keep.
    """
    global _paused
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    _paused = True
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        _paused = False
        gc.enable()


def imported() -> None:
    """Collect garbage from now on, among what is allocated from now on."""
    global _paused
    if _paused:
        _paused = False
        gc.freeze()
        gc.enable()


def inherited() -> None:
    """Collect garbage in a process that has just been forked, and leave out what it inherits: imported libraries."""
    gc.freeze()
    gc.enable()
