"""Check a configuration against the signatures of the classes it names, before anything is built."""

import inspect
import math
from collections.abc import Iterator
from typing import Any, Literal, get_type_hints

from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf

from mimii_pl.core.errors import InputError

TOP_LEVEL = {
    "seed": int,
    "training.epochs": int,
    "training.patience": int,
    "efficiency.seconds": float,
    "report.clips": int,
    "report.seconds": float,
    "resume": str | None,
    "best": str | None,
    "target": str,
    "published": str | list[str] | None,
    "threads": int | Literal["auto"] | None,
    "objective": Literal["sensitivity", "diverse", "other_ids", "loss", "balanced_accuracy", "criterion"],
}
POSITIVE = (  # options of our classes that count or measure something: one name has one meaning in the package
    *("alpha", "batch_size", "clip_seconds", "folds", "full_scale", "hop", "limit", "lr", "max_bands", "n_fft"),
    *("n_mels", "nu", "parts", "power", "sample_rate", "search_lr", "seconds", "steps", "tile", "trees", "window_hop"),
    *("basis", "block", "blocks", "bottleneck", "clusters", "components", "bands", "density_k", "depth", "excerpt"),
    *("frames", "criterion_clips", "gem_power", "heads"),
    *("channels", "hidden", "k", "kernel", "kernels", "latent", "layers", "patch", "squeeze", "width"),
    *("resolutions", "scale", "subclusters", "subspace"),
)
LARGEST = 2**31  # of an integer
UNIT_RANGE = (  # from 0 to 1
    *("anomalies", "dropout", "feat_ex", "nu", "p", "shrinkage", "test", "validation", "variance"),
)
NOT_NEGATIVE = (
    *("seed", "training.patience", "efficiency.seconds", "report.clips", "report.seconds"),
    *("beta", "f_min", "high", "low", "margin", "num_workers", "rdp_gamma", "seed", "severity", "smote"),
    *("test_clips", "train_clips", "world_seed"),
)


def check(cfg: DictConfig) -> None:
    """Raise InputError for the first option with a value of the wrong type, or a key its class does not take."""
    for key, kind in TOP_LEVEL.items():
        if key.split(".")[0] in cfg:
            value = OmegaConf.select(cfg, key)
            _check_value(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, kind)
            _check_range(key, key, value)
    for key, node in _targets(cfg, ""):
        accepted = parameters(node["_target_"])
        for name in map(str, node):
            if name.startswith("_"):
                continue
            if name not in accepted:
                raise InputError(f"{key}.{name}: {node['_target_']} has no such option. It has: {', '.join(accepted)}")
            value = node._get_node(name)
            if isinstance(value, DictConfig | ListConfig) and "_target_" in value:
                continue
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else node[name]
            _check_value(f"{key}.{name}", plain, accepted[name])
            if node["_target_"].startswith("mimii_pl."):
                if plain == [] and name in POSITIVE:
                    raise InputError(f"{key}.{name}=[]: should have at least one number")
                for item in plain if isinstance(plain, list) else [plain]:
                    _check_range(f"{key}.{name}", name, item)


def _check_range(key: str, name: str, value: Any) -> None:
    """Raise InputError for a number out of the range of an option of this name."""
    if type(value) not in (int, float):
        return
    if name in POSITIVE and value <= 0:
        raise InputError(f"{key}={value}: should be above 0")
    if name in UNIT_RANGE and not 0 <= value <= 1:
        raise InputError(f"{key}={value}: should be a share, from 0 to 1")
    if name in NOT_NEGATIVE and not value >= 0:
        raise InputError(f"{key}={value}: should be a number from 0")
    if isinstance(value, int) and value > LARGEST:
        raise InputError(f"{key}={value}: should be at most {LARGEST}")
    if not math.isfinite(value):
        raise InputError(f"{key}={value}: should be a finite number")


def _targets(node: Any, key: str) -> Iterator[tuple[str, DictConfig]]:
    """Yield every node that names a class, with its key."""
    children: list[tuple[str, Any]]
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node
        children = [(str(name), node._get_node(name)) for name in node]
    elif isinstance(node, ListConfig):
        children = [(str(index), node._get_node(index)) for index in range(len(node))]
    else:
        return
    for name, child in children:
        if isinstance(child, DictConfig | ListConfig) and not child._is_none() and not child._is_interpolation():
            yield from _targets(child, f"{key}.{name}" if key else name)


def parameters(target: str) -> dict[str, Any]:
    """Return the options of a class with their annotations; `**options` stands for those of the parent class."""
    options: dict[str, Any] = {}
    for parent in inspect.getmro(get_class(target)):
        constructor = parent.__dict__.get("__init__")
        if constructor is None:
            continue
        signature = inspect.signature(constructor)
        hints = _hints(constructor)
        for name, parameter in signature.parameters.items():
            if name != "self" and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                options.setdefault(name, hints.get(name, Any))
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            break
    return options


def _hints(constructor: Any) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(constructor))
    except (NameError, TypeError):
        return {}


def _check_value(key: str, value: Any, kind: Any) -> None:
    """Raise InputError if pydantic rejects the value; types that pydantic does not know are not checked."""
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(kind)
    except pydantic.errors.PydanticSchemaGenerationError:
        return
    try:
        adapter.validate_python(value, strict=kind in (int, bool, str))
    except pydantic.ValidationError as error:
        wanted = (one["msg"].removeprefix("Input should be ") for one in error.errors())  # one of each type of a union
        raise InputError(f"{key}={value}: should be {', or '.join(dict.fromkeys(wanted))}") from None
