"""Configurations of run directories, which a stranger may have written: plain values, and classes at their places.

Before anything is built from one, `core.trusted_classes` resolves the classes.
"""

import copy
import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from mimii_pl.core.arguments import escaped
from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.trusted_classes import PLACES, dotted, named_nodes, place_of, plain_leaves

SCANNER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SIZE_LIMIT = 2**17  # bytes of config.yaml; a real one has about 5,000
DEPTH_LIMIT = 100  # of mappings and lists in one another: the parser's time grows with its square; a real one has six
OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
RESERVED = ("hydra", "defaults", "command")  # an experiment made of a run would set what Hydra does, and is called
MOVED = {  # old path of a class, as stored configurations name it -> new path
    "mimii_pl.tracking._callbacks.History": "mimii_pl.core.callbacks.History",
    "mimii_pl.tracking._callbacks.SeedEachEpoch": "mimii_pl.core.callbacks.SeedEachEpoch",
    "mimii_pl.tracking._logger.RunLogger": "mimii_pl.tracking.logger.RunLogger",
    "mimii_pl.model._sync_batch_norm.SyncBatchNorm": "mimii_pl.core.sync_batch_norm.SyncBatchNorm",
    "pytorch_lightning.callbacks.ModelCheckpoint": "mimii_pl.core.checkpoints.Checkpoints",
}
DIVIDING = ("mimii_pl.dataset.folder.Folder", "mimii_pl.dataset.table.Table")  # data sets that once cut recordings
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
        plain = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    require_plain(plain, f"{path}: ")
    for _, node in named_nodes(plain):
        node["_target_"] = MOVED.get(node["_target_"], node["_target_"])
    if "task" not in plain and isinstance(plain.get("choices"), dict):
        plain["task"] = {"_target_": TASKS.get(plain["choices"].setdefault("task", "anomaly"), "")}
    if isinstance(data := plain.get("dataset"), dict) and data.get("_target_") in DIVIDING:
        data.setdefault("long", "cut")
    with damaged(path):  # a key of a type that OmegaConf does not take
        return relocated(plain, run_dir.resolve())


@cache
def _loader() -> type:
    """Return OmegaConf's loader of YAML, on libyaml's parser where there is one: ten times as fast."""
    theirs: Any = get_yaml_loader()
    if not yaml.__with_libyaml__:
        return theirs
    parser: Any = yaml.cyaml.CParser  # type: ignore[attr-defined]  # its types do not tell

    class Loader(parser, theirs):
        def __init__(self, text: str) -> None:
            parser.__init__(self, text)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return Loader


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, Any]:
    """Parse a configuration; a command reads that of its run several times."""
    depth = 0
    for token in yaml.scan(text, SCANNER):
        if isinstance(token, yaml.AliasToken | yaml.TagToken):
            raise ValueError("it has aliases or tags")
        if isinstance(token, OPENING):
            depth += 1
        elif isinstance(token, CLOSING):
            depth -= 1
        if depth > DEPTH_LIMIT:
            raise ValueError(f"it is nested deeper than {DEPTH_LIMIT}")
    plain: Any = yaml.load(text, _loader())
    if not isinstance(plain, dict):
        raise ValueError("it is not a mapping")
    return plain


def require_plain(plain: dict[str, Any], whose: str = "") -> None:
    """Raise InputError unless a configuration holds plain values alone, and names classes only in `PLACES`.

    Args:
        whose: begin of the message.
    """
    for path, value in plain_leaves(plain):
        key, name, shown = dotted(path)[:100], str(path[-1]), str(value)[:100]
        if path[0] in RESERVED:
            raise InputError(f"{whose}{key}={shown}: not loaded: {path[0]} is for the machinery, not for a run")
        dots = any(set(str(part)) & set(".[]") for part in path)  # of which OmegaConf makes several keys
        if dots and path[0] != "sweep":
            raise InputError(f"{whose}{key}={shown}: not loaded: a key has a dot or a bracket")
        if name == "_target_" and isinstance(value, str) and place_of(path[:-1]):
            continue
        if any(str(part).startswith("_") for part in path):
            raise InputError(
                f"{whose}{key}={shown}: not loaded: a class may be named by _target_ alone, with plain values, in "
                f"{', '.join(PLACES)}"
            )
        if isinstance(value, str) and ("${" in value or value == "???"):
            reason = "an interpolation is no plain value: rename a file or folder with ${ in its name"
            raise InputError(f"{whose}{key}={shown}: not loaded: {reason}")
        if isinstance(value, str) and not _is_writable(value):
            raise InputError(f"{whose}{key}={shown!a}: not loaded: not valid Unicode text")
        if not isinstance(value, str | int | float | dict | list | None):
            raise InputError(f"{whose}{key}={shown}: not loaded: a {type(value).__name__} is no plain value")


def _is_writable(text: str) -> bool:
    """Return whether a text can be written: as UTF-8, where bytes of file names may be any."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def relocated(plain: dict[str, Any], run_dir: Path) -> DictConfig:
    """Return a configuration whose files of the run are in `run_dir`, where a copied or moved run has its own."""
    old, new = str(plain.get("run_dir") or run_dir), escaped(str(run_dir))

    def follow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: follow(item) for key, item in value.items()}
        if isinstance(value, list):
            return [follow(item) for item in value]
        inside = isinstance(value, str) and (value == old or value.startswith(old + os.sep))
        return new + value[len(old) :] if inside else value

    return OmegaConf.create({**follow(plain), "run_dir": new})


def keep_offline(cfg: DictConfig) -> None:
    """Fetch no archives for a stored configuration, which says from where and to where: a run has its data already."""
    if "download" in cfg.dataset:
        cfg.dataset.download = False
