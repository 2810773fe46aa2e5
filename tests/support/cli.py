"""The command line without the seconds that its imports take: each command in a process forked from a warm one."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import BaseContext
from pathlib import Path
from subprocess import CompletedProcess

from mimii_pl.__main__ import DRAWN_WITH
from mimii_pl.core import garbage
from mimii_pl.core.process import PRELOADED, PRELOADED_WITH_CLASSES, PRELOADED_WITH_MLFLOW

WARM = [
    *PRELOADED,
    PRELOADED_WITH_CLASSES,
    PRELOADED_WITH_MLFLOW,
    *DRAWN_WITH,
    "optuna",
    "mimii_pl.__main__",
    "mimii_pl.sweep.search",
    "mimii_pl.tracking.load",
]


def warm_context() -> BaseContext:
    """Start processes by it that need no fresh interpreter: they are forked from a server with the imports done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)  # has no effect where this process has started its server already
    return context


def mimii(*arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run `mimii <arguments>` in a folder and wait for it, as `subprocess.run` with captured output does.

    Only for tests that do not depend on a fresh interpreter: the libraries are imported already.

    Args:
        env: the environment of the command; None: that of the test without MLflow's variables.
    """
    environment = dict(without_mlflow() if env is None else env)
    argv = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = warm_context().Process(target=_main, args=(argv, Path(cwd), environment, outputs))
        process.start()
        process.join()
        return CompletedProcess(["mimii", *argv], process.exitcode or 0, *(path.read_text() for path in outputs))


def without_mlflow() -> dict[str, str]:
    """The environment of this process without MLflow's variables, as a user's shell has none."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}


def _main(argv: Sequence[str], cwd: Path, environment: dict[str, str], outputs: Sequence[Path]) -> None:
    """Body of the forked process: what a fresh interpreter would find, then the command."""
    garbage.inherited()
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["mimii"]
    from mimii_pl.__main__ import main

    main(argv)
