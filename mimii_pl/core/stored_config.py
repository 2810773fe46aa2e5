"""Configurations of run directories, which a stranger may have written: plain values, and classes that fit their place.

`read_config` accepts plain values alone, and `trust_classes` the classes to be built from them: each must be a subclass
of what its place is for, from this package, from one that the user trusts, or one of the listed classes of a library.
"""

import os
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.errors import InputError, damaged

OWN = "mimii_pl"
SCANNER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Place = tuple[Any, ...]
SIZE_LIMIT = 2**20  # bytes of config.yaml; a real one has about 5,000
SECTIONS = ("choices", "machine", "dataset", "protocol", "features", "model", "task", "trainer")  # of every run
PLACES = {  # where a configuration names a class -> base of what may be named there; `*`: any key, or number in a list
    "dataset": "mimii_pl.dataset.MachineSounds",
    "protocol": "mimii_pl.protocol.Protocol",
    "features": "mimii_pl.features.Spectral",
    "augmentation.*": "torch.nn.Module",
    "model": "mimii_pl.model.Detector",
    "backend": "mimii_pl.backend.BackEnd",
    "threshold": "mimii_pl.threshold.Threshold",
    "task": "mimii_pl.task.Task",
    "trainer": "pytorch_lightning.Trainer",
    "trainer.callbacks.*": "pytorch_lightning.Callback",
    "trainer.logger": "pytorch_lightning.loggers.Logger",
    "trainer.logger.*": "pytorch_lightning.loggers.Logger",
    "trainer.plugins.*": "pytorch_lightning.plugins.LayerSync",
    "trainer.strategy": "pytorch_lightning.strategies.Strategy",
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
WRITTEN = ("default_root_dir", "dirpath", "path", "save_dir")  # options of a trainer's parts that say where to write

MOVED = {  # old path of a class, as stored configurations name it -> new path
    "mimii_pl.tracking._callbacks.History": "mimii_pl.core.callbacks.History",
    "mimii_pl.tracking._callbacks.SeedEachEpoch": "mimii_pl.core.callbacks.SeedEachEpoch",
    "mimii_pl.tracking._logger.RunLogger": "mimii_pl.tracking.logger.RunLogger",
    "mimii_pl.model._sync_batch_norm.SyncBatchNorm": "mimii_pl.core.sync_batch_norm.SyncBatchNorm",
    "pytorch_lightning.callbacks.ModelCheckpoint": "mimii_pl.core.checkpoints.Checkpoints",
}
TASKS = {  # name of a task in configurations stored before tasks were classes -> class
    "anomaly": "mimii_pl.task.anomaly.Anomaly",
    "classification": "mimii_pl.task.classification.Classification",
}


def read_config(run_dir: Path) -> DictConfig:
    """Read the configuration of a run directory: plain values, no interpolation, classes at their places only.

    One of an earlier version is updated, and files of the run are looked for where its directory is now.

    Raises:
        InputError: it is missing or damaged, or not plain.
    """
    path = run_dir / "config.yaml"
    with damaged(path):
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError(f"it is larger than {SIZE_LIMIT} bytes")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken | yaml.TagToken) for token in yaml.scan(text, SCANNER)):
            raise ValueError("it has aliases or tags")
        plain: Any = OmegaConf.to_container(OmegaConf.create(text))
        if not isinstance(plain, dict):
            raise ValueError("it is not a mapping")
    require_plain(plain, f"{path}: ")
    for _, node in _nodes(plain):
        node["_target_"] = MOVED.get(node["_target_"], node["_target_"])
    if "task" not in plain and isinstance(plain.get("choices"), dict):
        plain["task"] = {"_target_": TASKS.get(plain["choices"].setdefault("task", "anomaly"), "")}
    return relocated(plain, run_dir.resolve())


def require_plain(plain: dict[str, Any], whose: str = "") -> None:
    """Raise InputError unless a configuration holds plain values alone, and names classes only in `PLACES`.

    Args:
        whose: begin of the message.
    """
    for path, value in _leaves(plain):
        key, name = _dotted(path), str(path[-1])
        if name == "_target_" and isinstance(value, str) and _role(path[:-1]):
            continue
        if any(str(part).startswith("_") for part in path):
            raise InputError(
                f"{whose}{key}={value}: not loaded: a class may be named by _target_ alone, with plain values, in "
                f"{', '.join(PLACES)}"
            )
        if isinstance(value, str) and "${" in value:
            raise InputError(f"{whose}{key}={value}: not loaded: an interpolation is no plain value")
        if isinstance(value, str) and not _is_writable(value):
            raise InputError(f"{whose}{key}={value!a}: not loaded: no text")
        if not isinstance(value, str | int | float | dict | list | None):
            raise InputError(f"{whose}{key}={value}: not loaded: a {type(value).__name__} is no plain value")


def _is_writable(text: str) -> bool:
    """Return whether a text can be written: as UTF-8, where bytes of file names may be any."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def relocated(plain: dict[str, Any], run_dir: Path) -> DictConfig:
    """Return a configuration whose files of the run are in `run_dir`, where a copied or moved run has its own."""
    old, new = str(plain.get("run_dir") or run_dir), str(run_dir)

    def follow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: follow(item) for key, item in value.items()}
        if isinstance(value, list):
            return [follow(item) for item in value]
        inside = isinstance(value, str) and (value == old or value.startswith(old + os.sep))
        return new + value[len(old) :] if inside else value

    return OmegaConf.create({**follow(plain), "run_dir": new})


def trust_classes(cfg: DictConfig, trust: Collection[str] = (), places: Collection[str] = ()) -> dict[str, type]:
    """Resolve the classes that a stored configuration names; only then may they be built.

    Args:
        cfg: of `read_config`.
        trust: packages, besides this one, whose classes may be named.
        places: those to resolve, such as `model`; empty: all, and then the trainer's parts may write nowhere but into
            the run directory.

    Returns:
        The classes by place.

    Raises:
        InputError: a section is missing, or a class is not of a trusted package, or not for its place.
    """
    plain: Any = OmegaConf.to_container(cfg)
    with damaged(Path(plain.get("run_dir") or "", "config.yaml")):
        _require_sections(plain)
    if not places:
        _require_inside(plain["trainer"], Path(plain["run_dir"]))
    nodes = [(path, node) for path, node in _nodes(plain) if not places or _dotted(path) in places]
    return {_dotted(path): _resolved(path, node["_target_"], {OWN, *trust}) for path, node in nodes}


def require_trusted(cfg: DictConfig, trust: Collection[str] = ()) -> None:
    """Raise InputError if a stored configuration names a package that is not trusted, even where it is not built."""
    plain: Any = OmegaConf.to_container(cfg)
    for path, node in _nodes(plain):
        _require_trusted(path, node["_target_"], {OWN, *trust})


def _require_trusted(path: Place, name: str, trust: Collection[str]) -> None:
    if not _is_listed(name) and name.split(".")[0] not in trust:
        raise InputError(
            f"{_dotted(path)}._target_={name}: not loaded: its package is not trusted; if you trust it: "
            "trust=[<package>]"
        )


def _is_listed(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    return attribute in LIBRARIES.get(module, ())


def packages(cfg: DictConfig) -> set[str]:
    """Return the packages whose classes a configuration names."""
    plain: Any = OmegaConf.to_container(cfg)
    return {node["_target_"].split(".")[0] for _, node in _nodes(plain)}


def _resolved(path: Place, name: str, trust: Collection[str]) -> type:
    module, _, attribute = name.rpartition(".")
    refused = f"{_dotted(path)}._target_={name}: not loaded"
    _require_trusted(path, name, trust)
    listed = _is_listed(name)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{refused}: this installation has no such class ({error})") from None
    if not isinstance(found, type) or not (listed or found.__module__.split(".")[0] in trust):
        raise InputError(f"{refused}: it is no class of a trusted package")
    home, _, parent = PLACES[_role(path)].rpartition(".")
    if not issubclass(found, getattr(import_module(home), parent)):
        raise InputError(f"{refused}: this place takes a {parent}")
    return found


def _require_sections(plain: dict[str, Any]) -> None:
    for name in SECTIONS:
        if not isinstance(plain.get(name), dict):
            raise ValueError(f"it has no section {name}")
    if not isinstance(plain["machine"].get("name"), str):
        raise ValueError("machine.name is not a text")


def _require_inside(trainer: Any, run_dir: Path) -> None:
    """Raise InputError if a part of the trainer would write outside the run directory."""
    for path, value in _leaves(trainer, ("trainer",)):
        if path[-1] in WRITTEN and isinstance(value, str):
            place = Path(os.path.abspath(value))
            if place != run_dir and run_dir not in place.parents:
                raise InputError(
                    f"{_dotted(path)}={value}: not loaded: the run's configuration would write outside {run_dir}"
                )


def _role(path: Place) -> str:
    """Return the key of `PLACES` that a place falls under; empty: none."""
    if any("." in str(part) for part in path):
        return ""
    general = _dotted((*path[:-1], "*"))
    return next((place for place in (_dotted(path), general) if place in PLACES), "")


def _nodes(plain: dict[str, Any]) -> Iterator[tuple[Place, dict]]:
    """Yield place and node of everything that names a class."""
    for path, _ in list(_leaves(plain)):
        if path[-1] == "_target_":
            node: Any = plain
            for part in path[:-1]:
                node = node[part]
            yield path[:-1], node


def _leaves(value: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield path and value of everything that is neither a mapping nor a list, unless it is an empty one."""
    if isinstance(value, dict | list) and (value or not path):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, name))
    else:
        yield path, value


def _dotted(path: Place) -> str:
    return ".".join(map(str, path))
