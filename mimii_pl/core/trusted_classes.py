"""Classes that a stored configuration names: each must be for its place, and of a package that is trusted."""

import os
import re
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.errors import InputError, damaged

OWN = "mimii_pl"
FUSED = "fused"  # section of the configuration of a fused run
Place = tuple[Any, ...]
SECTIONS = ("choices", "machine", "dataset", "protocol", "features", "model", "task", "trainer")  # of every run
DETECTING = ("features", "model")  # those that a fused run does not have: its members have
PLACES = {  # where a configuration names a class -> base of what may be named there; `*`: any key, or number in a list
    "dataset": "mimii_pl.dataset.MachineSounds",
    "protocol": "mimii_pl.protocol.Protocol",
    "features": "mimii_pl.features.Spectral",
    "augmentation.*": "torch.nn.Module",
    "model": "mimii_pl.model.Detector",
    "backend": "mimii_pl.backend.BackEnd",
    "backend.members.*": "mimii_pl.backend.BackEnd",
    "threshold": "mimii_pl.threshold.Threshold",
    "task": "mimii_pl.task.Task",
    "trainer": "pytorch_lightning.Trainer",
    "trainer.callbacks.*": "pytorch_lightning.Callback",
    "trainer.logger": "pytorch_lightning.loggers.Logger",
    "trainer.logger.*": "pytorch_lightning.loggers.Logger",
    "trainer.plugins.*": "pytorch_lightning.plugins.LayerSync",
    "trainer.strategy": "pytorch_lightning.strategies.Strategy",
    "alarm": "mimii_pl.live.alarm.AlarmRule",
    "sweep.sampler": "optuna.samplers.BaseSampler",
    "sweep.pruner": "optuna.pruners.BasePruner",
}
LIBRARIES = {  # their classes that may be named, at the place that they are for
    "pytorch_lightning": ("Trainer",),
    "pytorch_lightning.callbacks": (
        "EarlyStopping",
        "GradientAccumulationScheduler",
        "LearningRateMonitor",
        "ModelSummary",
        "RichModelSummary",
        "RichProgressBar",
        "StochasticWeightAveraging",
        "TQDMProgressBar",
        "Timer",
    ),
    "pytorch_lightning.loggers": ("CSVLogger", "TensorBoardLogger"),
    "pytorch_lightning.strategies": ("DDPStrategy", "SingleDeviceStrategy"),
    "optuna.samplers": ("CmaEsSampler", "QMCSampler", "RandomSampler", "TPESampler"),
    "optuna.pruners": ("HyperbandPruner", "MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner"),
}
NAME_OPTIONS = ("filename", "name", "prefix", "sub_dir", "version")  # options that become part of a path
WRITTEN = ("default_root_dir", "dirpath", "path", "save_dir")  # options of a trainer's parts that say where to write


def trust_classes(cfg: DictConfig, trust: Collection[str] = (), places: Collection[str] = ()) -> dict[str, type]:
    """Resolve the classes that a stored configuration names; only then may they be built.

    Args:
        cfg: of `read_config`.
        trust: packages, besides this one, whose classes may be named.
        places: those to resolve, such as `task`; empty: all.

    Returns:
        The classes by place.

    Raises:
        InputError: a section is missing, or a class is not of a trusted package, or not for its place.
    """
    plain: Any = OmegaConf.to_container(cfg)
    with damaged(Path(plain.get("run_dir") or "", "config.yaml")):
        _require_sections(plain)
    nodes = [(path, node) for path, node in named_nodes(plain) if not places or dotted(path) in places]
    packages_trusted = {OWN, *([trust] if isinstance(trust, str) else trust)}
    return {dotted(path): _resolved(path, node["_target_"], packages_trusted) for path, node in nodes}


def require_inside(cfg: DictConfig) -> None:
    """Raise InputError if a part of the trainer of a stored configuration would write outside the run directory."""
    plain: Any = OmegaConf.to_container(cfg)
    run_dir = Path(plain["run_dir"])
    for path, value in plain_leaves(plain["trainer"], ("trainer",)):
        if not isinstance(value, str):
            continue
        if path[-1] in NAME_OPTIONS and (os.path.isabs(value) or ".." in Path(value).parts):
            raise InputError(f"{dotted(path)}={value}: not loaded: the name of a file cannot lead elsewhere")
        if path[-1] in WRITTEN:
            place = Path(os.path.abspath(value))
            if place != run_dir and run_dir not in place.parents:
                raise InputError(
                    f"{dotted(path)}={value}: not loaded: the run's configuration would write outside {run_dir}"
                )


def packages(cfg: DictConfig) -> set[str]:
    """Return the packages whose classes a configuration names at their places."""
    plain: Any = OmegaConf.to_container(cfg)
    return {str(node["_target_"]).split(".")[0] for path, node in named_nodes(plain) if place_of(path)}


def trusted_by(cfg: DictConfig) -> set[str]:
    """Return the packages that a user's own configuration names or trusts; of a stored one it would be a stranger's."""
    trust = cfg.get("trust") or []
    return packages(cfg).union([trust] if isinstance(trust, str) else trust)


def _resolved(path: Place, name: str, trust: Collection[str]) -> type:
    module, _, attribute = name.rpartition(".")
    refused = f"{dotted(path)}._target_={name}: not loaded"
    listed = attribute in LIBRARIES.get(module, ())
    if not listed and module.split(".")[0] not in trust:
        raise InputError(f"{refused}: its package is not trusted; if you trust it: trust=[{module.split('.')[0]}]")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{refused}: this installation has no such class ({error})") from None
    if not isinstance(found, type) or not (listed or found.__module__.split(".")[0] in trust):
        raise InputError(f"{refused}: it is no class of a trusted package")
    home, _, parent = PLACES[place_of(path)].rpartition(".")
    if not issubclass(found, getattr(import_module(home), parent)):
        raise InputError(f"{refused}: expected a subclass of {parent}")
    return found


def _require_sections(plain: dict[str, Any]) -> None:
    for name in SECTIONS if FUSED not in plain else set(SECTIONS) - set(DETECTING):
        if not isinstance(plain.get(name), dict):
            raise ValueError(f"it has no section {name}")
    if not isinstance(plain["machine"].get("name"), str):
        raise ValueError("machine.name is not a text")
    for name in ("dataset", "protocol", "task", "trainer"):
        _require_class(name, plain[name])
    for name in (*DETECTING, "backend", "threshold"):
        if plain.get(name) is not None:
            _require_class(name, plain[name])
    for name, items in (("augmentation", plain.get("augmentation")), ("callbacks", plain["trainer"].get("callbacks"))):
        for item in items.values() if isinstance(items, dict) else items or ():
            _require_class(name, item)
    for group, choice in plain["choices"].items():
        _require_choice(str(group), choice)
    _require_choice("augmentation", list(plain.get("augmentation") or ()))  # choices lack a group of several files


def _require_class(name: str, node: Any) -> None:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise ValueError(f"{name}: {str(node)[:50]!a} does not name a class")


def _require_choice(group: str, choice: Any) -> None:
    """Raise ValueError unless a choice is the name of a file of its group: `retrain` composes the choices again."""
    if group.startswith("hydra") or not re.fullmatch(r"\w+(/\w+)?", group):
        raise ValueError(f"choices.{group[:50]!a}: there is no such group")
    for name in choice if isinstance(choice, list) else [choice]:
        parts = str(name).split("/") if group == "experiment" else [str(name)]
        if any(part.startswith(".") or not part.isprintable() or set(part) & set("/\\:") for part in parts):
            raise ValueError(f"choices.{group}={str(name)[:50]!a}: it is not the name of a choice")


def place_of(path: Place) -> str:
    """Return the key of `PLACES` that a place falls under; empty: none."""
    if any("." in str(part) for part in path):
        return ""
    general = dotted((*path[:-1], "*"))
    return next((place for place in (dotted(path), general) if place in PLACES), "")


def named_nodes(plain: dict[str, Any]) -> Iterator[tuple[Place, dict]]:
    """Yield place and node of everything that names a class."""
    for path, _ in list(plain_leaves(plain)):
        if path[-1] == "_target_":
            node: Any = plain
            for part in path[:-1]:
                node = node[part]
            yield path[:-1], node


def plain_leaves(value: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield path and value of everything that is neither a mapping nor a list, unless it is an empty one."""
    if isinstance(value, dict | list) and (value or not path):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from plain_leaves(item, (*path, name))
    else:
        yield path, value


def dotted(path: Place) -> str:
    """Spell a place as the command line does: `trainer.callbacks.0`."""
    return ".".join(map(str, path))
