"""The command line: `mimii <command> key=value ...`, `python -m mimii_pl <command> ...`; `python train.py` is `train`.

Every file of `conf/command/` is a command. Its first comment is the summary that `mimii` lists, its values are the
options, and its key `command` names the function that is called with them: a new command is one function and one yaml.
"""

import inspect
import logging
import math
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mimii_pl.core import (
    config,
    garbage,
    lean_lightning,  # noqa: F401  (so that Lightning, where a command needs it, is imported quickly)
)
from mimii_pl.core.addresses import without_password
from mimii_pl.core.arguments import (
    read_text,
    spell_flags,
    spell_overrides,
    spell_path,
    spell_text,
    split_flags,
    validate_flags,
)
from mimii_pl.core.choices import brought_choices
from mimii_pl.core.errors import InputError, explain_fault
from mimii_pl.core.files import write_text
from mimii_pl.core.help import config_name, show_help, summary
from mimii_pl.core.hydra_hooks import missing_extra
from mimii_pl.core.mistakes import explain_option, refuse_choices, unresolved
from mimii_pl.core.run_dir import find_run, read_facts
from mimii_pl.core.run_lock import BusyError
from mimii_pl.core.trusted_classes import trusted_by

log = logging.getLogger(__name__)
SWEEPS = ("sweep=", "best=", "experiment=auto", "hydra.mode=MULTIRUN")  # overrides that make a sweep without -m
DRAWN_WITH = (  # takes as long to import as torch
    "mimii_pl.report.sounds",
    "mimii_pl.report.spectrograms",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
    "mimii_pl.report.embedding",
    "sklearn.manifold",
)
HINTS = {  # how to continue after Ctrl-C
    "download": "the same command continues the download",
    "search": "the same command continues the search",
    "score": "the same command continues after the last finished shard",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name; without arguments, or with --help alone, list the commands."""
    with garbage.importing():
        _main(sys.argv[1:] if argv is None else argv)


def _main(argv: Sequence[str]) -> None:
    _wait_passively()
    _hide_passwords()
    command, arguments = split_command([without_password(item) for item in argv])
    if command is None:
        with _closed_pipe():
            _list_commands()
        return
    if {"--help", "-h"} & set(arguments):
        _help(command, arguments)
        return
    with _one_line_errors():
        command, arguments, finish = translate(command, arguments)
    sys.argv[1:] = arguments
    _run_hydra(command)
    if finish is not None:
        with _one_line_errors():
            finish()


def _wait_passively() -> None:
    """Let no thread spin while it waits for others, in this process and those that it starts; libraries read it once.

    By default they do, which makes small steps many times slower on a core that another process needs. Threads of
    OpenMP, which torch uses, sleep then; those of OpenBLAS cannot, so numpy has one: its matrices are small here.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _hide_passwords() -> None:
    """Hide the password of the address that configurations take from the environment; it is remembered."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["MLFLOW_TRACKING_URI"] = without_password(uri)


def train() -> None:
    """Run `mimii train`: the entry point of `train.py`."""
    main(["train", *sys.argv[1:]])


def commands() -> dict[str, str]:
    """Return the commands with their summaries, read from the first comment of their files."""
    files = [config.CONF / "train.yaml", *sorted(config.CONF.glob("command/[!_]*.yaml"))]
    return {path.stem: summary(path.stem) for path in files}


def split_command(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split the arguments into command and options; without a command they are options of `train`.

    Raises:
        SystemExit: there is no such command.
    """
    if not argv or list(argv) in (["--help"], ["-h"], ["help"]):
        return None, []
    if "--version" in argv:
        from mimii_pl import __version__

        print(f"mimii_pl {__version__}")
        sys.exit()
    first = argv[0]
    if first[:1] in ("-", "+", "~") or "=" in first:
        return "train", list(argv)
    known = list(commands())
    if first not in known:
        _fail(f"{first}: no such command. Commands: {', '.join(known)}.{config.closest(first, known)}")
    return first, list(argv[1:])


def translate(command: str, arguments: Sequence[str]) -> tuple[str, list[str], Callable[[], Any] | None]:
    """Translate a command line for Hydra: command, arguments, and a function to call when Hydra is done, if any.

    `resume` and `retrain` become `train` with an option. `machine=fan` of a command with `only.machine` becomes
    `only.machine=fan`: it selects runs, and Hydra would take it for a choice of conf/machine. Flags come first, as
    Hydra expects them, and values are spelled for its grammar.

    Raises:
        InputError: an argument cannot be read, or names a run or sweep that does not exist.
    """
    flags, words = split_flags(arguments)
    finish = None
    options = OmegaConf.load(config.CONF / f"{config_name(command)}.yaml")
    assert isinstance(options, DictConfig)
    if flags.hydra_help or (flags.help and "train" in options):  # with options of `train`, which are not shown
        return command, spell_flags(flags), None
    if command != "train":
        filters = options.get("only", {})
        words = [f"only.{item}" if item.partition("=")[0] in filters else item for item in words]
        if "train" in options:
            command, words = "train", _as_train(options, words)
    sweeps = flags.multirun or any(item.startswith(SWEEPS) for item in words)
    words = spell_overrides(words, sweeps=sweeps)
    if command == "train" and not flags.help:
        if any(item.startswith("best=") for item in words):
            from mimii_pl.sweep.retrain import retraining, trusted_packages

            trust = trusted_packages(words)
            arguments, sweep_dir = retraining([*spell_flags(flags), *words])
            flags, words = split_flags(arguments)
            finish = partial(_register_winners, sweep_dir, trust)
        for item in words:
            if item.startswith("resume=") and item != "resume=null":  # continue in the run's own directory
                run_dir = find_run(read_text(item.removeprefix("resume=")), finished=False)
                words = [*words, f"hydra.run.dir={spell_text(str(run_dir))}"]
    validate_flags(flags, words)
    refuse_choices(words)
    return command, [*spell_flags(flags), *words], finish


def _register_winners(sweep_dir: Path, trust: list[str]) -> None:
    from mimii_pl.sweep.register import register_winners

    if sweep_dir.is_dir():  # `--cfg` runs nothing
        register_winners(sweep_dir, trust)


def _as_train(options: DictConfig, words: list[str]) -> list[str]:
    """Rewrite the words of `resume` or `retrain` as those of `train`: `run=latest` -> `resume=latest`.

    Raises:
        InputError: several runs, or sweeps, are named.
    """
    option = str(options.train)
    key = next(name for name in ("run", "sweep") if name in options)
    places = [item.removeprefix(f"{key}=") for item in words if item.startswith(f"{key}=") or _is_place(item)]
    others = [item for item in words if not (item.startswith(f"{key}=") or _is_place(item))]
    if len(places) > 1:
        raise InputError(f"{' '.join(places)}: give one {key}")
    return [f"{option}={spell_path(key, places[0]) if places else options[key]}", *others]


def _is_place(item: str) -> bool:
    """Return whether a word is a path: `mimii resume outputs/...`. A folder may be named like an option, `run=1`."""
    before, equals, _ = item.partition("=")
    first, slash, _ = before.lstrip("+").partition("/")
    is_group = first.strip(".") != "" and (config.CONF / first).is_dir()  # hydra/launcher=joblib
    is_option = equals or item[:1] == "~"
    return Path(item).is_dir() or (not is_group if slash else not is_option)


def _run_hydra(command: str) -> None:
    import hydra
    from hydra.errors import HydraException

    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, so that we can explain them
    try:
        hydra.main(version_base="1.3", config_path=str(config.CONF), config_name=config_name(command))(_call)()
    except (InputError, HydraException, OmegaConfBaseException) as error:
        if full_error:
            raise
        _fail(str(error) if isinstance(error, InputError) else explain_option(error, command))
    except Exception as error:
        resumes = any(item.startswith("resume=") for item in sys.argv)
        instead = "run=<a copy of it>" if resumes else "hydra.run.dir=<another folder>, for sweeps hydra.sweep.dir="
        if message := missing_extra(error) or (not full_error and explain_fault(error, instead)):  # Hydra's own
            _fail(message)
        raise
    except KeyboardInterrupt:
        search = any(item.startswith("sweep=") for item in sys.argv)
        sys.exit(f"interrupted; {HINTS.get('search' if search else command, 'the same command starts again')}")
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _call(cfg: DictConfig) -> float | None:
    """Call the function that a composed configuration names: with its values as keywords, or with `cfg` itself."""
    from hydra.core.hydra_config import HydraConfig

    hydra: Any = HydraConfig.get()
    with open_dict(cfg):
        name = cfg.pop("command")
    cfg = config.with_choices(cfg, hydra.runtime.choices)
    if "run_dir" in cfg:
        return _run(name, cfg, hydra)
    function = _function(name)
    with _one_line_errors(cfg):
        if "cfg" in inspect.signature(function).parameters:
            function(cfg)
        else:
            values: Any = OmegaConf.to_container(cfg, resolve=True)
            function(**values)
    return None


def _run(name: str, cfg: DictConfig, hydra: DictConfig) -> float:
    """Do one run, alone or in a sweep; if it fails, record that in its directory and in MLflow."""
    from mimii_pl.core import process
    from mimii_pl.core.helper import started_ahead

    run_dir = Path(hydra.runtime.output_dir)
    sweep_dir = Path(hydra.sweep.dir) if hydra.mode.name == "MULTIRUN" else None
    if sweep_dir is not None:
        _omit_page(cfg, hydra.overrides.task)
    try:
        args = name, cfg, run_dir, sweep_dir, list(hydra.overrides.task)
        with _hint_to_continue(run_dir, sweep_dir, searches=bool(cfg.get("sweep"))):
            if not process.needs_process(cfg, hydra):
                draws = started_ahead(DRAWN_WITH) if OmegaConf.select(cfg, "report.page") else nullcontext()
                talks = _recording(cfg) if sweep_dir is None else nullcontext()
                with draws, talks, _failure_recorded(run_dir, cfg):  # while the process that talks to MLflow is there
                    return call_named_run(*args)
            with _failure_recorded(run_dir, cfg):
                garbage.imported()
                preload = process.preloaded(cfg)
                value = process.run_in_process(call_named_run, run_dir, hydra.job_logging, *args, preload=preload)
        print(f"{run_dir.name} {'was pruned' if math.isnan(value) else f'has finished: {value:.4g}'}", flush=True)
        return value
    except BaseException as error:
        if isinstance(error, OmegaConfBaseException) and (fault := unresolved(cfg)):
            error = InputError(fault)
        explained = isinstance(error, InputError | process.KilledError)
        reason = str(error) if explained else f"{traceback.format_exc()}\n{explain_fault(error) or ''}".strip()
        reason = without_password(reason)
        if sweep_dir is None or not isinstance(error, Exception):
            with _one_line_errors(cfg):
                raise
        if not isinstance(error, BusyError):
            with suppress(InputError):  # a failed run must not stop the sweep; the leaderboard lists it
                write_text(run_dir / "failed.txt", reason)
        last = reason.strip().splitlines()[-1]
        print(f"{run_dir.name} has failed and the sweep continues: {last}", file=sys.stderr, flush=True)
        return math.nan


def _recording(cfg: DictConfig) -> AbstractContextManager[None]:
    """Let another process import MLflow, where a run is recorded there; of several loggers, by the first."""
    logger = OmegaConf.select(cfg, "trainer.logger")
    first = logger[0] if isinstance(logger, ListConfig) and logger else logger
    target = first.get("_target_") if isinstance(first, DictConfig) else None
    if target != "mimii_pl.tracking.logger.RunLogger" or os.environ.get("LOCAL_RANK", "0") != "0":
        return nullcontext()
    from mimii_pl.tracking.beside import importing_mlflow

    return importing_mlflow()


def _omit_page(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Choose `report=none` for a run of a sweep that computes scores, unless a report was asked for.

    A page takes as long as a short run; that of a classifier is quick.
    """
    asked = any(item.lstrip("+").startswith(("report=", "report.")) for item in overrides)
    choices = cfg.get("choices", {})
    if not asked and choices.get("report") == "default" and choices.get("task") == "anomaly":
        cfg.report, cfg.choices.report = OmegaConf.load(config.CONF / "report" / "none.yaml"), "none"


@contextmanager
def _hint_to_continue(run_dir: Path, sweep_dir: Path | None, *, searches: bool) -> Iterator[None]:
    """Say how to continue a run or a sweep after Ctrl-C; `_run_hydra` says it of a search."""
    try:
        yield
    except KeyboardInterrupt:
        if searches:
            raise
        if sweep_dir is not None:
            folder = shlex.quote(f"hydra.sweep.dir={sweep_dir}")
            sys.exit(f"interrupted; the same command with {folder} continues the sweep")
        if (run_dir / "run.json").is_file():
            sys.exit(f"interrupted; `mimii resume {shlex.quote(str(run_dir))}` continues")
        sys.exit("interrupted before training began; the same command starts again")


def call_named_run(name: str, *args: Any) -> float:
    """Do `call_run` with the function of that dotted name, which only the process of the run imports."""
    return call_run(_function(name), *args)


def _function(name: str) -> Callable[..., Any]:
    """Import the function of a dotted name, with the libraries that it needs."""
    from hydra.utils import get_method

    function: Callable[..., Any] = get_method(name)
    garbage.imported()
    return function


def call_run(
    function: Callable[..., float], cfg: DictConfig, run_dir: Path, sweep_dir: Path | None, overrides: list[str]
) -> float:
    """Start a run or resume one."""
    if cfg.get("resume"):
        from mimii_pl.rerun import resumed

        cfg, run_dir = resumed(cfg.resume, overrides, cfg.trust)
    elif brought := brought_choices(cfg, overrides):
        choices = ", ".join(f"{group}={choice}" for group, choice in brought.items())
        log.info("model=%s brings %s", cfg.choices.model, choices)
    return function(cfg, run_dir, sweep_dir=sweep_dir)


@contextmanager
def _failure_recorded(run_dir: Path, cfg: DictConfig) -> Iterator[None]:
    """End the run in MLflow if the block fails, unless it is another process's."""
    try:
        yield
    except BusyError:
        raise
    except BaseException:
        with suppress(InputError, OmegaConfBaseException):  # damaged: named by the error itself
            if "mlflow_key" in read_facts(run_dir):  # else it is not recorded, or by another logger
                from mimii_pl.tracking.logger import end_run

                end_run(run_dir, "FAILED", trusted_by(cfg))
        raise


@contextmanager
def _one_line_errors(cfg: DictConfig | None = None) -> Iterator[None]:
    """Exit with one line on what a user can mend; Hydra would print a heading of its own.

    Args:
        cfg: the user's configuration, whose interpolations may stand for nothing.
    """
    try:
        yield
    except InputError as error:
        _fail(str(error))
    except Exception as error:
        if type(error).__name__ == "InstantiationException":  # Hydra is imported by what raised it
            log.debug("%s", error, exc_info=True)
            _fail(config.explain(error))
        if isinstance(error, OmegaConfBaseException) and cfg is not None and (fault := unresolved(cfg)):
            _fail(fault)
        if fault := explain_fault(error):
            log.debug("%s", fault, exc_info=True)
            _fail(fault)
        raise


def _fail(message: str) -> NoReturn:
    sys.exit(f"error: {without_password(message)}")


@contextmanager
def _closed_pipe() -> Iterator[None]:
    """Exit silently if the reader of the output has gone, as in `mimii | head -1`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        sys.exit(1)


def _help(command: str, arguments: Sequence[str]) -> None:
    """Print the help of a command; overrides beside --help change the values that it shows."""
    from hydra.errors import HydraException

    try:
        _, arguments, _ = translate(command, arguments)
        flags, overrides = split_flags(arguments)
        with _closed_pipe():
            show_help(command, [*overrides, *config.searched(flags.config_dir)])
    except (InputError, HydraException, OmegaConfBaseException) as error:
        _fail(explain_option(error, command))


def _list_commands() -> None:
    """Print the commands with their summaries and the way to their help, within 80 columns."""
    print("Usage: mimii <command> [key=value ...]\n\nCommands")
    summaries = commands()
    width = max(map(len, summaries))
    for name, text in summaries.items():
        print(f"  {name:<{width}}  {text}")
    print("\nOptions and examples of a command: mimii <command> --help")
    print("Without a command, the options are those of train: mimii machine=fan")


if __name__ == "__main__":
    from mimii_pl.__main__ import main as imported  # under its own name, so that other processes find its functions

    imported()
