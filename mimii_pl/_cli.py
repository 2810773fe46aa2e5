"""Entry points of the command line: Hydra around `run`, and errors that say one thing."""

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mimii_pl import _config, _run_dir
from mimii_pl.errors import InputError

AGAIN = {  # how to go on after Ctrl-C
    "train": "`python train.py resume=latest` goes on from the last checkpoint",
    "download": "the same command goes on where it was",
    "same": "the same command goes on with the search",
    "score": "the same command goes on after the last finished shard",
}
GROUPS = ("machine", "dataset", "protocol", "features", "model", "backend")  # that runs are picked by


def train() -> None:
    """`python train.py`, `mimii-train`: train a detector and judge it per machine ID."""
    sweep_dir = None
    if any(item.startswith("best=") for item in sys.argv[1:]):
        with _told():
            from mimii_pl._best import retraining

            sys.argv[1:], sweep_dir = retraining(sys.argv[1:])
    _main(_train, "train")
    if sweep_dir is not None and sweep_dir.is_dir():  # `--cfg job` and the like made none
        with _told():
            from mimii_pl.register import register_winners

            register_winners(sweep_dir)


def score() -> None:
    """`python score.py`, `mimii-score`: score recordings with a finished run."""
    _main(_score, "score")


def rescore() -> None:
    """`python rescore.py`, `mimii-rescore`: judge a finished run again by other back ends."""
    _main(_rescore, "rescore")


def decide() -> None:
    """`python decide.py`, `mimii-decide`: choose a finished run's thresholds anew."""
    _main(_decide, "decide")


def register() -> None:
    """`python register.py`, `mimii-register`: make a finished run a version of a registered model."""
    _main(_register, "register")


def listen() -> None:
    """`python listen.py`, `mimii-listen`: clips of a split to see and to hear."""
    _main(_listen, "listen")


def download() -> None:
    """`python download.py`, `mimii-download`: fetch, verify and unpack a data set."""
    _main(_download, "download")


def compare() -> None:
    """`python compare.py`, `mimii-compare`: compare finished runs."""
    # `machine=fan` would name a file of conf/machine: here it says which runs
    sys.argv[1:] = [f"only.{item}" if item.partition("=")[0] in GROUPS else item for item in sys.argv[1:]]
    _main(_compare, "compare")


def _main(task: Callable[[DictConfig], float | None], config_name: str) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    sys.argv[1:] = sorted(sys.argv[1:], key=lambda item: item not in ("-m", "--multirun"))  # Hydra wants it outside
    for item in sys.argv[1:]:
        if item.startswith("resume=") and config_name == "train":  # go on writing where the interrupted run wrote
            sys.argv.append(f"hydra.run.dir={_found(item.removeprefix('resume='))}")
    verbose = bool(os.environ.get("HYDRA_FULL_ERROR"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out to be explained here, not printed there
    try:
        hydra.main(version_base="1.3", config_path=str(_config.CONF), config_name=config_name)(task)()
    except (InputError, HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        message = str(error) if isinstance(error, InputError) else _config.explain(error)
        sys.exit(f"error: {message}")
    except RuntimeError as error:
        if message := _config.missing_extra(error):
            sys.exit(f"error: {message}")
        raise
    except KeyboardInterrupt:
        again = "same" if any(item.startswith("sweep=") for item in sys.argv) else config_name
        sys.exit(f"interrupted; {AGAIN.get(again, 'start it again')}")


def _found(run: str) -> Path:
    with _told():
        return _run_dir.find(run, finished=False)


def _train(cfg: DictConfig) -> float | None:
    return _one(cfg, _run)


def _rescore(cfg: DictConfig) -> float | None:
    return _one(cfg, _judge_again)


def _one(cfg: DictConfig, task: Callable[[DictConfig, Path, Path | None, list[str]], float]) -> float | None:
    """One run, or one child of a sweep, in its directory; marked as failed in MLflow where it fails."""
    from hydra.core.hydra_config import HydraConfig

    from mimii_pl import _apart

    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    cfg = _config.with_choices(cfg, hydra.runtime.choices)
    args = cfg, run_dir, _sweep_dir(hydra), list(hydra.overrides.task)
    try:
        if not _apart.wanted(cfg, hydra):
            return task(*args)
        value = _apart.apart(task, run_dir, hydra.job_logging, *args)
        ended = "was ended early" if math.isnan(value) else f"has finished: {value:.4g}"
        print(f"{run_dir.name} {ended}", flush=True)
        return value
    except BaseException as error:
        from mimii_pl.tracking._logger import end_run

        end_run(cfg, run_dir, "FAILED")
        told = isinstance(error, InputError | _apart.KilledError)
        reason = str(error) if told else traceback.format_exc()
        if hydra.mode.name == "RUN" or not isinstance(error, Exception):
            with _told():
                raise
        (run_dir / "failed.txt").write_text(reason)  # it must not stop the sweep; the leaderboard names it
        last = reason.strip().splitlines()[-1]
        print(f"{run_dir.name} has failed and the sweep goes on: {last}", file=sys.stderr, flush=True)
        return float("nan")


def _run(cfg: DictConfig, run_dir: Path, sweep_dir: Path | None, overrides: list[str]) -> float:
    from mimii_pl.run import resumed, run

    if cfg.resume:
        cfg, run_dir = resumed(cfg.resume, overrides)
    return run(cfg, run_dir, sweep_dir=sweep_dir)


def _judge_again(cfg: DictConfig, run_dir: Path, sweep_dir: Path | None, overrides: list[str]) -> float:
    from mimii_pl.rescore import rescore

    return rescore(cfg, run_dir, sweep_dir=sweep_dir)


def _sweep_dir(hydra: DictConfig) -> Path | None:
    return Path(hydra.sweep.dir) if hydra.mode.name == "MULTIRUN" else None


def _score(cfg: DictConfig) -> None:
    from mimii_pl._score_files import score_files

    with _told():
        score_files(**OmegaConf.to_container(cfg, resolve=True))


def _decide(cfg: DictConfig) -> None:
    from mimii_pl.decide import decide

    with _told():
        decide(_chosen(cfg))


def _register(cfg: DictConfig) -> None:
    from mimii_pl.register import register

    with _told():
        register(**OmegaConf.to_container(cfg, resolve=True))


def _listen(cfg: DictConfig) -> None:
    from mimii_pl.listen import listen

    with _told():
        listen(_chosen(cfg))


def _download(cfg: DictConfig) -> None:
    from mimii_pl.download import download

    with _told():
        download(_chosen(cfg))


def _chosen(cfg: DictConfig) -> DictConfig:
    from hydra.core.hydra_config import HydraConfig

    return _config.with_choices(cfg, HydraConfig.get().runtime.choices)


@contextmanager
def _told() -> Iterator[None]:
    """End on a mistake with its message alone: Hydra would print a headline of its own."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


def _compare(cfg: DictConfig) -> None:
    from mimii_pl.compare import compare

    with _told():
        compare(**OmegaConf.to_container(cfg, resolve=True))
