"""`mimii retrain sweep=<sweep>`: train the winners of a sweep again over seeds, and register the best of each."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from mimii_pl.core.arguments import quoted, read_text, split_flags
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.core.stored_config import keep_offline
from mimii_pl.core.trusted_classes import FUSED, require_inside, trust_classes
from mimii_pl.sweep.experiment import as_experiment
from mimii_pl.sweep.winners import Sweep, Trial, criterion, find_sweep, winners

SEEDS = "0,1,2,3,4"
FREE = ("trainer", "report", "threshold", "logger")  # groups that do not change the model
RETRAINED_DIR = Path("outputs/best")


def retraining(arguments: list[str]) -> tuple[list[str], Path]:
    """Translate `best=...` into Hydra's arguments for a sweep of the winners over seeds; return its directory too.

    The winner of each machine is written as an experiment into `outputs/best/experiment`. The sweep's directory depends
    only on winners and arguments, so that the same command resumes it.

    Args:
        arguments: of the command line: `best=` names a sweep (see `find_sweep`); `machine=` and `target=` choose among
            its winners, `trust=` names packages whose classes they may name; values, and choices of the `FREE` groups,
            change them.

    Raises:
        InputError: there is no such sweep or machine, or a choice would change the model.
    """
    options = dict(item.split("=", 1) for item in arguments if "=" in item and not item.startswith("-"))
    others = [item for item in arguments if item.startswith("-") or "=" not in item]
    request = {key: read_text(options.pop(key, "")) for key in ("best", "machine", "target")}
    options.pop("trust", None)
    _validate(options)
    trust = trusted_packages(arguments)
    sweep = _sweep(request["best"], options, trust)
    chosen = [(trial, sweep.config(trial)) for trial in _chosen(sweep, request)]
    for trial, cfg in chosen:  # their experiments will name the same classes
        if FUSED in cfg:
            raise InputError(f"{trial.name} is a fused run, which has no detector to train: name another sweep")
        trust_classes(cfg, trust)
        require_inside(cfg)
        keep_offline(cfg)
    config_dir = split_flags(arguments)[0].config_dir
    texts = {trial.model_name: as_experiment(cfg, _comment(sweep, trial), config_dir) for trial, cfg in chosen}
    changes = [f"{key}={value}" for key, value in sorted(options.items()) if not key.startswith("hydra")]
    digest = hashlib.sha256("\n".join([*texts.values(), *changes]).encode()).hexdigest()[:8]
    name = f"{sweep.name[:40]}-{digest}"
    for model, text in texts.items():
        path = RETRAINED_DIR / "experiment" / name / f"{model}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        print(f"winner: {path}")
    added = {
        "++best": quoted(sweep.name),  # not `best`, for which a subprocess would look up the sweep again
        "experiment": ",".join(quoted(f"{name}/{model}") for model in texts),
        "seed": SEEDS,
        "hydra.searchpath": f"[machine://any,{quoted(f'file://{RETRAINED_DIR.resolve()}')}]",
        "hydra.sweep.dir": quoted(RETRAINED_DIR / name),
        **({} if "logger" in options else _recorded(sweep, chosen[0][1])),
        **options,
    }
    flags = dict.fromkeys(["-m", *(item for item in others if item != "--multirun")])
    return [*flags, *(f"{key}={value}" for key, value in added.items())], RETRAINED_DIR / name


def trusted_packages(arguments: Sequence[str]) -> list[str]:
    """Return the packages that `trust=` names on the command line."""
    texts = [item.partition("=")[2].strip("'\"") for item in arguments if item.startswith("trust=")]
    return [name for text in texts for name in _listed(text)]


def _validate(options: dict[str, str]) -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {*FREE, "hydra"}
    for key, value in options.items():
        if key.lstrip("+~").split("@")[0] in groups | {"resume", "hydra.sweep.dir", "hydra.searchpath"}:
            raise InputError(
                f"{key}={value}: best= keeps the winner's choices and its own folder. You can change values, such as "
                f"training.epochs=100, and the groups {', '.join(FREE)}"
            )


def _sweep(place: str, options: dict[str, str], trust: list[str]) -> Sweep:
    from mimii_pl.tracking.registry import default_uri

    uri, experiment = (
        read_text(options.get(f"trainer.logger.{key}", "")) for key in ("tracking_uri", "experiment_name")
    )
    return find_sweep(place, uri or default_uri(), experiment or "mimii_pl", trust=trust)


def _chosen(sweep: Sweep, request: dict[str, str]) -> list[Trial]:
    all_winners = winners(sweep)
    wanted = {key: _listed(request[key]) for key in ("machine", "target") if request[key]}
    chosen = [trial for trial in all_winners if all(getattr(trial, key) in names for key, names in wanted.items())]
    if not chosen:
        names = ", ".join(trial.model_name for trial in all_winners)
        asked = " ".join(f"{key}={request[key]}" for key in wanted)
        raise InputError(f"{request['best']} has winners for {names}, but none for {asked}")
    return chosen


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip(" '\"") for part in text.strip("[]").split(",")) if part]


def _comment(sweep: Sweep, trial: Trial) -> str:
    name = criterion([trial])
    return f"Winner of the sweep {sweep.name} on {trial.machine}: {trial.name}, {name} {trial.figures[name]:.4f}."


def _recorded(sweep: Sweep, cfg: DictConfig) -> dict[str, str]:
    """Return the options that record the runs in the store of the sweep."""
    logger = cfg.trainer.get("logger") or {}
    uri = sweep.tracking_uri or logger.get("tracking_uri")
    options = {"trainer.logger.tracking_uri": uri, "trainer.logger.experiment_name": logger.get("experiment_name")}
    return {"logger": "mlflow"} | {key: quoted(value) for key, value in options.items() if value}
