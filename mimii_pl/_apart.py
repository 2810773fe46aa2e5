"""A run of a sweep in a process of its own: what kills it kills no other, what it takes is given back, and what it
prints goes to a file of its own.

The process is forked from one that has imported the libraries already, so that a run costs no second import. It ends
with the worker that waits for it.
"""

import logging.config
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

SCREEN = "screen.txt"  # in the run directory: what the run would have shown
PRELOADED = ["torch", "pytorch_lightning", "torchmetrics", "sklearn.metrics", "scipy.signal", "mimii_pl.run"]


class RunError(Exception):
    """What a run raised in its process, told in words."""


class KilledError(Exception):
    """A run whose process ended without a word."""


def wanted(cfg: DictConfig, hydra: DictConfig) -> bool:
    """Whether a run needs a process of its own: in a sweep, beside others or where it starts processes itself (ddp)."""
    beside_others = not hydra.launcher._target_.endswith("BasicLauncher")
    distributed = "ddp" in str(OmegaConf.select(cfg, "trainer.strategy"))
    return hydra.mode.name == "MULTIRUN" and (beside_others or distributed)


def apart(task: Callable[..., Any], run_dir: Path, job_logging: DictConfig, *args: Any) -> Any:
    """What `task(*args)` returns, called in a new process.

    Raises:
        what it raised, from a RunError with the traceback there; a RunError for what cannot travel.
        KilledError: its process was killed.
    """
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(way)
    if way == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    logs = OmegaConf.to_container(job_logging, resolve=True)
    process = context.Process(target=_answer, args=(theirs, task, run_dir, logs, *args))
    process.start()
    theirs.close()
    try:
        value, error, told = ours.recv()
    except EOFError:
        process.join()
        raise KilledError(_cause_of_death(process.exitcode)) from None
    finally:
        process.join(timeout=30)
        process.kill()  # interrupted while it was waited for, or hanging at its end
    if error is not None:
        raise error from RunError(told)
    return value


def _answer(to: Connection, task: Callable[..., Any], run_dir: Path, logs: dict, *args: Any) -> None:
    """The process of a run: call the task, send (value, None, "") or (None, exception, its traceback)."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    _to_file(run_dir / SCREEN)
    logging.config.dictConfig(logs)
    _say_how_to_repeat(run_dir)
    try:
        answer = task(*args), None, ""
    except BaseException as error:
        traceback.print_exc()
        answer = None, _able_to_travel(error), traceback.format_exc()
    to.send(answer)


def _follow_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _to_file(path: Path) -> None:
    """Have everything that this process prints, libraries in C included, appended to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)


def _say_how_to_repeat(run_dir: Path) -> None:
    """Lightning starts the other processes of a distributed run by this one's command line: make it name the run."""
    sys.modules["__main__"].__spec__ = find_spec("mimii_pl.__main__")
    sys.argv[1:] = [f"resume={run_dir}"]


def _able_to_travel(error: BaseException) -> BaseException:
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _cause_of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9): most likely the system had no memory left"
    reason = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"its process ended without a word ({reason})"
