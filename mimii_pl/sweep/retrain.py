"""`python train.py best=<sweep>`: the winners of a sweep trained again over seeds, and the best of each registered."""

import hashlib
from pathlib import Path

from omegaconf import DictConfig

from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.sweep.experiment import as_experiment, quoted
from mimii_pl.sweep.winners import Sweep, Trial, criterion, find_sweep, winners

SEEDS = "0,1,2,3,4"
FREE = ("trainer", "report", "threshold", "logger")  # groups that do not make a model another one
HERE = Path("outputs/best")


def retraining(arguments: list[str]) -> tuple[list[str], Path]:
    """What Hydra is to be told instead of `best=...`: a sweep of the winners over seeds; and its directory.

    The winner of each machine is written as an experiment into `outputs/best/experiment`. The sweep's directory depends
    on winners and arguments alone, so that the same command goes on with what it finds there.

    Args:
        arguments: of the command line: `best=` a sweep (see `find_sweep`); `machine=` and `target=` choose among its
            winners; any value, and choices of the `FREE` groups, change them.

    Raises:
        InputError: no such sweep or machine, or a choice that would make it another model.
    """
    options = dict(item.split("=", 1) for item in arguments if "=" in item and not item.startswith("-"))
    others = [item for item in arguments if item.startswith("-") or "=" not in item]
    asked = {key: options.pop(key, "").strip("'\"") for key in ("best", "machine", "target")}
    _refuse(options)
    sweep = _sweep(asked["best"], options)
    chosen = [(trial, sweep.config(trial)) for trial in _chosen(sweep, asked)]
    texts = {trial.model_name: as_experiment(cfg, _comment(sweep, trial)) for trial, cfg in chosen}
    said = [f"{key}={value}" for key, value in sorted(options.items()) if not key.startswith("hydra")]
    digest = hashlib.sha256("\n".join([*texts.values(), *said]).encode()).hexdigest()[:8]
    name = f"{sweep.name[:40]}-{digest}"
    for model, text in texts.items():
        path = HERE / "experiment" / name / f"{model}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        print(f"winner: {path}")
    added = {
        "++best": quoted(sweep.name),  # not `best`: a process that is started with these again has nothing to look for
        "experiment": ",".join(quoted(f"{name}/{model}") for model in texts),
        "seed": SEEDS,
        "hydra.searchpath": f"[machine://any,{quoted(f'file://{HERE.resolve()}')}]",
        "hydra.sweep.dir": quoted(HERE / name),
        **({} if "logger" in options else _recorded(sweep, chosen[0][1])),
        **options,
    }
    told = [f"{key}={value}" for key, value in added.items()]
    return [*dict.fromkeys(["-m", *(item for item in others if item != "--multirun")]), *told], HERE / name


def _refuse(options: dict[str, str]) -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {*FREE, "hydra"}
    for key, value in options.items():
        if key.lstrip("+~").split("@")[0] in groups | {"resume", "hydra.sweep.dir", "hydra.searchpath"}:
            raise InputError(
                f"{key}={value}: best= keeps the winner's choices and its own folder; values can change, for example "
                f"training.epochs=100, and the groups {', '.join(FREE)}"
            )


def _sweep(place: str, options: dict[str, str]) -> Sweep:
    from mimii_pl.tracking.registry import default_uri

    uri, experiment = (
        options.get(f"trainer.logger.{key}", "").strip("'\"") for key in ("tracking_uri", "experiment_name")
    )
    return find_sweep(place, uri or default_uri(), experiment or "mimii_pl")


def _chosen(sweep: Sweep, asked: dict[str, str]) -> list[Trial]:
    found = winners(sweep)
    wanted = {key: asked[key].strip("[]").split(",") for key in ("machine", "target") if asked[key]}
    chosen = [trial for trial in found if all(getattr(trial, key) in names for key, names in wanted.items())]
    if not chosen:
        there = ", ".join(trial.model_name for trial in found)
        raise InputError(f"best={asked['best']}: it has winners for {there}, none for what is asked")
    return chosen


def _comment(sweep: Sweep, trial: Trial) -> str:
    name = criterion([trial])
    return f"Winner of the sweep {sweep.name} on {trial.machine}: {trial.name}, {name} {trial.figures[name]:.4f}."


def _recorded(sweep: Sweep, cfg: DictConfig) -> dict[str, str]:
    """Where the runs go: to the store that the sweep is in."""
    logger = cfg.trainer.get("logger") or {}
    uri = sweep.tracking_uri or logger.get("tracking_uri")
    found = {"trainer.logger.tracking_uri": uri, "trainer.logger.experiment_name": logger.get("experiment_name")}
    return {"logger": "mlflow"} | {key: quoted(value) for key, value in found.items() if value}
