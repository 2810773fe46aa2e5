"""The second process: what it computes, what is computed here instead, and that nothing of it is left behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import world

from mimii_pl.core import helper as module
from mimii_pl.core.helper import Helper, helper, started_ahead

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="no second process is started here"
)


@pytest.fixture(autouse=True)
def _room(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # as a user's shell has none


def own_process(*_):
    return os.getpid()


def failing():
    raise ValueError("of the call")


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


def begun(pending):
    while not pending._begun.locked():
        time.sleep(0.01)
    return pending


@contextmanager
def started(given=None):
    with Helper() as second:
        second.start(given)
        yield second


def test_calls_are_computed_in_another_process_and_errors_are_raised_here():
    with started() as second:
        first = begun(second.submit(own_process)).result()
        assert first != os.getpid()
        assert begun(second.submit(own_process)).result() == first
        with pytest.raises(ValueError, match="of the call"):
            begun(second.submit(failing)).result()
        second.submit(failing)
        with pytest.raises(ValueError, match="of the call"):
            second.wait()


def test_what_is_given_is_inherited_and_not_pickled():
    lock = threading.Lock()  # which cannot be pickled
    with started(lock) as second:
        assert begun(second.submit_given(own_process)).result() != os.getpid()


def test_what_the_helper_has_not_begun_is_computed_here(tmp_path):
    with started() as second:
        busy = begun(second.submit(wait_for, tmp_path / "go"))
        late = [second.submit(own_process) for _ in range(6)]
        assert late[-1].result() == os.getpid()
        (tmp_path / "go").touch()
        assert busy.result() != os.getpid()


def test_what_a_killed_helper_owes_is_computed_here():
    with started() as second:
        os.kill(begun(second.submit(own_process)).result(), signal.SIGKILL)
        assert [second.submit(own_process).result() for _ in range(3)] == [os.getpid()] * 3
        told = []
        second.submit(own_process).then(told.append)
        second.wait()
        assert told == [os.getpid()]


def test_one_that_is_killed_while_its_calls_are_taken_back_ends(tmp_path):
    large = bytes(2**20)  # does not fit into a pipe
    with started() as second:
        process = begun(second.submit(own_process)).result()
        busy = begun(second.submit(wait_for, tmp_path / "go"))
        late = [second.submit(len, large) for _ in range(8)]
        assert late[-1].result() == len(large)
        os.kill(process, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert busy.result() == os.getpid()
        assert not second.is_running
        assert [pending.result() for pending in late] == [len(large)] * 8
    assert not any(thread.is_alive() for thread in second._threads)
    assert not alive(process)


def die_there(parent):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return threading.get_ident()


def own_process_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def of_both(second):
    """The processes of a helper of two; either may take a while to begin."""
    found = set()
    while len(found) < 2:
        found |= {each.result() for each in [second.submit(own_process_after, 0.1) for _ in range(4)]}
    return found


def has_imported(name):
    time.sleep(0.02)
    return name in sys.modules


def test_two_processes_share_the_calls_and_what_was_imported():
    with Helper(["colorsys"], 2, shares=False) as second:
        second.start()
        computed = of_both(second)
        assert os.getpid() not in computed
        assert all(each.result() for each in [second.submit(has_imported, "colorsys") for _ in range(8)])
    assert all(map(ends, computed))
    assert second.submit(own_process).result() == os.getpid()


@pytest.mark.parametrize("killed", [0, 1])
def test_what_one_of_two_processes_owes_is_computed_here(killed):
    with Helper((), 2, shares=False) as second:
        second.start()
        both = sorted(of_both(second))
        os.kill(both[killed], signal.SIGKILL)
        late = [second.submit(own_process_after, 0.1) for _ in range(6)]
        assert os.getpid() in {each.result() for each in late}
        assert not second.is_running
    assert all(map(ends, both))


def test_one_killed_while_it_imports_leaves_the_calls_to_this_process(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    with Helper(["takes_long"], 2, shares=False) as second:
        second.start()
        late = second.submit(own_process)
        second._process.kill()
        assert late.result() == os.getpid()
    began = time.monotonic()
    with pytest.raises(ValueError, match="of the block"), Helper(["takes_long"], 2, shares=False) as second:  # noqa: PT012
        second.start()
        raise ValueError("of the block")
    assert time.monotonic() - began < 30


def test_the_end_of_a_block_waits_for_no_import(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with started_ahead(["takes_long"]):
        pass
    assert time.monotonic() - began < 30


def test_what_dies_is_computed_by_the_thread_that_needs_it():
    with Helper((), 1, shares=False) as second:
        second.start()
        assert second.ask(own_process) != os.getpid()
        assert second.ask(die_there, os.getpid()) == threading.get_ident()
        assert not second._owed


def test_an_error_waits_for_nothing():
    began = time.monotonic()
    with pytest.raises(ValueError, match="of the block"), started() as second:  # noqa: PT012
        begun(second.submit(time.sleep, 60))
        raise ValueError("of the block")
    assert time.monotonic() - began < 30


def test_what_comes_after_its_end_is_computed_here(tmp_path):
    with started() as second:
        begun(second.submit(own_process)).result()
        late = [second.submit(time.sleep, 0.2), second.submit(own_process), second.submit(own_process)]
    assert late[-1].result() == second.submit(own_process).result() == os.getpid()


def test_a_result_is_told_once_wherever_it_is_computed(tmp_path):
    with started() as second:
        told = []
        second.submit(own_process).then(told.append)
        second.wait()
        second.submit(wait_for, tmp_path / "go").then(told.append)
        for _ in range(6):
            second.submit(own_process).then(told.append)
        (tmp_path / "go").touch()
        second.wait()
    assert len(told) == 8


@pytest.mark.parametrize("room", ["one processor", "one thread"])
def test_without_a_second_processor_everything_is_computed_here(monkeypatch, room):
    if room == "one thread":
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
    else:
        monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0}, raising=False)
    told = []
    with started(3) as second:
        assert not second.is_running
        second.submit(own_process).then(told.append)
        assert second.submit_given(own_process).result() == os.getpid()
        second.wait()
    assert told == [os.getpid()]


def test_one_that_was_started_ahead_is_used():
    with started_ahead(["json.tool"]):
        with helper() as second:
            processes = of_both(second)
        with helper() as again:
            assert again is second
            assert begun(again.submit(own_process)).result() in processes
    with started() as first, helper() as same:
        assert same is first
    with helper() as new:
        assert new is not first
        assert begun(new.submit(own_process)).result() not in processes | {os.getpid()}


@pytest.mark.slow
def test_the_page_is_the_same_with_helpers_and_without(tmp_path):
    root = world.write(tmp_path / "world")
    pages = {}
    for name, threads in (("with", {}), ("without", {"OMP_NUM_THREADS": "1"})):
        options = [
            f"dataset.root={root}",
            f"dataset.cache_dir={tmp_path}/{name}_cache",
            f"hydra.run.dir={tmp_path / name}",
        ]
        command = [sys.executable, "-m", "mimii_pl", "train", "model=committee", "machine=fan", "logger=none", *options]
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | threads
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
        text = (tmp_path / name / "report.html").read_text()
        pages[name] = re.findall(r'alt="([^"]*)"', text), re.findall(r'src="(data:audio[^"]*)"', text)
    assert pages["with"] == pages["without"]
    assert min(map(len, pages["with"])) > 8
    levels = [(tmp_path / name / "sound.json").read_text() for name in pages]
    assert levels[0] == levels[1]


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


def ends(process):
    end = time.monotonic() + 30
    while alive(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(number):
    code = """
import os, time
from mimii_pl.core.helper import Helper
second = Helper()
second.start()
first = second.submit(os.getpid)
time.sleep(1)
print(first.result(), flush=True)
second.submit(time.sleep, 60)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        process = int(parent.stdout.readline())
        assert alive(process)
        parent.send_signal(number)
        parent.wait(30)
    assert ends(process)
