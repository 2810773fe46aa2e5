"""Garbage is not looked for while libraries are imported, and is from then on."""

import gc
import subprocess
import sys
from contextlib import suppress

import pytest

from mimii_pl.core import garbage

LEFT = """
import gc, sys, types
from mimii_pl.core import garbage

class Link:
    gone = 0

    def __del__(self):
        Link.gone += 1

def leave(count):
    for _ in range(count):
        link = Link()
        link.own = link

with garbage.importing():
    leave(100_000)  # more than a collection waits for
    assert Link.gone == 0
    garbage.imported()
    leave(100_000)
    assert Link.gone > 50_000
    frozen = gc.get_freeze_count()
    garbage.imported()
    assert 0 < gc.get_freeze_count() <= frozen
sys.modules["torch"] = types.ModuleType("torch")
with garbage.importing():  # in a process that has imported it, nothing is kept
    garbage.imported()
    assert gc.get_freeze_count() <= frozen
print("well")
"""


@pytest.mark.slow
def test_what_is_allocated_after_the_imports_is_collected():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("well\n", "")


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("torch", [True, False])
def test_the_collector_is_as_it_was_after_the_block(enabled, torch, monkeypatch):
    if not torch:
        monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(gc, "freeze", lambda: None)
    try:
        (gc.enable if enabled else gc.disable)()
        for ends in (garbage.imported, lambda: 1 / 0, lambda: None):
            with suppress(ZeroDivisionError), garbage.importing():
                assert gc.isenabled() == (enabled and torch)
                ends()
            assert gc.isenabled() == enabled
        garbage.imported()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
