"""What a run changes about its process, and how each run of a sweep gets a process of its own.

A crash or a kill for lack of memory then costs one run and not the sweep, and its memory is given back. The process is
forked from a server that has already imported the libraries, writes its output to a file, and ends with its parent.
"""

import logging.config
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.errors import InputError

SCREEN = "screen.txt"  # in the run directory: what the run would have printed
PRELOADED = ["torch", "pytorch_lightning", "torchmetrics", "sklearn.metrics", "scipy.signal", "mimii_pl.run"]


class RunError(Exception):
    """The traceback of an exception raised in a run's process, as text."""


class KilledError(Exception):
    """The process of a run died before it could report a result."""


def limit_threads(threads: int | None) -> None:
    """Limit the threads of torch and of numpy's libraries; None leaves them as they are.

    Raises:
        InputError: fewer than one.
    """
    import torch
    from threadpoolctl import threadpool_limits

    if threads is not None:
        if threads < 1:
            raise InputError(f"threads={threads} must be 1 or more, or null: as many as there are")
        torch.set_num_threads(threads)
        threadpool_limits(threads)


def quiet_lightning() -> None:
    """Silence Lightning's banners, and its advice that does not apply here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on torch 2.11
        r".*does not have many workers",  # gathers from a memory map: workers would cost more
        r".*Checkpoint directory .* exists",  # a resumed run writes where the interrupted one did
        r".*number of training batches",  # small sets are in order
    ):
        warnings.filterwarnings("ignore", message)


def needs_process(cfg: DictConfig, hydra: DictConfig) -> bool:
    """True for a run of a sweep that shares the machine with others, or starts processes of its own (ddp)."""
    parallel = not hydra.launcher._target_.endswith("BasicLauncher")
    distributed = "ddp" in str(OmegaConf.select(cfg, "trainer.strategy"))
    return hydra.mode.name == "MULTIRUN" and (parallel or distributed)


def run_in_process(function: Callable[..., Any], run_dir: Path, job_logging: DictConfig, *args: Any) -> Any:
    """Call `function(*args)` in a new process and return what it returns.

    Raises:
        Exception: the exception raised there, from a RunError with its traceback; a RunError if it cannot be sent.
        KilledError: the process died.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    logs = OmegaConf.to_container(job_logging, resolve=True)
    process = context.Process(target=_answer, args=(theirs, function, run_dir, logs, *args))
    process.start()
    theirs.close()
    try:
        value, error, trace = ours.recv()
    except EOFError:
        process.join()
        raise KilledError(_cause_of_death(process.exitcode or 0)) from None
    finally:
        process.join(timeout=30)
        process.kill()  # interrupted while we waited for it, or hanging at its end
    if error is not None:
        raise error from RunError(trace)
    return value


def _answer(to: Connection, function: Callable[..., Any], run_dir: Path, logs: dict, *args: Any) -> None:
    """Body of the new process: call the function, send (value, None, "") or (None, exception, its traceback)."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _redirect_output(run_dir / SCREEN)
    logging.config.dictConfig(logs)
    _set_command_line(run_dir)
    answer: tuple[Any, BaseException | None, str]
    try:
        answer = function(*args), None, ""
    except BaseException as error:
        traceback.print_exc()
        answer = None, _picklable(error), traceback.format_exc()
    to.send(answer)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _redirect_output(path: Path) -> None:
    """Append everything that this process prints, C libraries included, to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # text files, as we are no notebook


def _set_command_line(run_dir: Path) -> None:
    """Make this process's command line name the run: Lightning starts the other processes of a ddp run by it."""
    sys.modules["__main__"].__spec__ = find_spec("mimii_pl.__main__")
    sys.argv[1:] = [f"resume={run_dir}"]


def _picklable(error: BaseException) -> BaseException:
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _cause_of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9): most likely the system ran out of memory"
    reason = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"its process ended without reporting a result ({reason})"
