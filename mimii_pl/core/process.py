"""Run each job of a sweep in its own process, so that a crash cannot take the sweep down.

Nor can the out-of-memory killer, and the memory of a run is freed when it ends. The process is forked from a server
that has already imported the libraries, writes its output to a file, and ends with its parent.
"""

import logging.config
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core import garbage
from mimii_pl.core.addresses import ADDRESSES

SCREEN = "screen.txt"  # in the run directory: the output of the process
PRELOADED = [
    "joblib.externals.loky",  # workers of joblib name it as their way to start processes
    "mimii_pl.core.lean_lightning",
    "torch",
    "scipy.signal",
    "pydantic.type_adapter",
    "mimii_pl.rerun",
]
PRELOADED_WITH_MLFLOW = "mlflow.store.tracking.sqlalchemy_store"
PRELOADED_WITH_CLASSES = "sklearn.metrics"
CallOutcome = tuple[Any, BaseException | None, str]  # of a call: value, error, its traceback


class RunError(Exception):
    """Traceback, as text, of an exception raised in another process."""


class KilledError(Exception):
    """Raised when the process of a run died before it could report a result."""


def needs_process(cfg: DictConfig, hydra: DictConfig) -> bool:
    """Return whether a run needs its own process: in a sweep whose runs are parallel or start processes (ddp)."""
    parallel = not hydra.launcher._target_.endswith("BasicLauncher")
    distributed = "ddp" in str(OmegaConf.select(cfg, "trainer.strategy"))
    return hydra.mode.name == "MULTIRUN" and (parallel or distributed)


def preloaded(cfg: DictConfig) -> list[str]:
    """Return the modules that the runs of a sweep need, and whose imports take longer than many a run."""
    modules = list(PRELOADED)
    if OmegaConf.select(cfg, "trainer.logger"):
        modules.append(PRELOADED_WITH_MLFLOW)
    if OmegaConf.select(cfg, "choices.task") == "classification":
        modules.append(PRELOADED_WITH_CLASSES)
    return modules


def run_in_process(
    function: Callable[..., Any],
    run_dir: Path,
    job_logging: DictConfig,
    *args: Any,
    preload: Sequence[str] = PRELOADED,
) -> Any:
    """Call `function(*args)` in a new process and return what it returns.

    Args:
        preload: modules that the server imports before it forks its first process.

    Raises:
        Exception: the exception raised there, from a RunError with its traceback; a RunError if it cannot be pickled.
        KilledError: the process died.
    """
    context: Any  # the stubs of a context without a fixed start method lack Process
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
    else:
        context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    logs = OmegaConf.to_container(job_logging, resolve=True)
    known = os.environ.get(ADDRESSES, "{}")  # the server that forks may have been started before they were
    process = context.Process(target=_call_and_send, args=(sender, function, run_dir, logs, known, *args))
    process.start()
    sender.close()
    try:
        outcome: CallOutcome = receiver.recv()
    except EOFError:
        process.join()
        raise KilledError(_cause_of_death(process.exitcode or 0)) from None
    finally:
        process.join(timeout=30)
        process.kill()  # we were interrupted while waiting, or it hangs at its end
    return outcome_of(outcome)


def attempt(function: Callable[..., Any], *args: Any) -> CallOutcome:
    """Call a function and return what came of it, to be sent to another process."""
    try:
        return function(*args), None, ""
    except BaseException as error:
        return None, _picklable(error), traceback.format_exc()


def outcome_of(outcome: CallOutcome) -> Any:
    """Return the value of a call in another process, or raise what it raised."""
    value, error, trace = outcome
    if error is not None:
        raise error from RunError(trace)
    return value


def _call_and_send(
    sender: Connection, function: Callable[..., Any], run_dir: Path, logs: dict, known: str, *args: Any
) -> None:
    """Call the function in the new process, and send what came of it."""
    garbage.inherited()
    os.environ[ADDRESSES] = known
    threading.Thread(target=exit_with_parent, daemon=True).start()
    _redirect_output(run_dir / SCREEN)
    logging.config.dictConfig(logs)
    _set_command_line(run_dir)
    outcome = attempt(function, *args)
    print(outcome[2], end="", file=sys.stderr)
    sender.send(outcome)


def exit_with_parent() -> None:
    """Wait for the end of the process that started this one, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _redirect_output(path: Path) -> None:
    """Append all output of this process, that of C libraries included, to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # text files: this is no notebook


def _set_command_line(run_dir: Path) -> None:
    """Set the command line to one that continues the run: Lightning starts the other processes of a ddp run with it."""
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
