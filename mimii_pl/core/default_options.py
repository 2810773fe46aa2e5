"""Default options of a detector, to tell what a run changed from what it took as it came."""

import re
from collections.abc import Mapping
from functools import cache

from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.options import flatten

_CHOSEN = ("model", "task", "dataset", "protocol", "backend", "features", "threshold")  # groups that bring options
_NAME = re.compile(r"[A-Za-z0-9]\w*")  # of a file in conf/
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def changed_options(options: Mapping[str, str]) -> dict[str, str] | None:
    """Return the options of a run that differ from the defaults of its detector, choices first.

    The defaults are those of `mimii train model=<its model>` with the same data set, task and protocol; of another back
    end, features, augmentation or threshold than the model's own, the choice counts as a difference, and the values
    that come with it do not. A value that follows another (`features.sample_rate` is `${dataset.sample_rate}`) is left
    to that one. Options that the defaults do not have are skipped.

    Args:
        options: choices and values by dotted key, as text (`core.options.flatten`).

    Returns:
        None if such a configuration cannot be composed here, as for a detector of another installation.
    """
    if not _choices(options, ("model",)):
        return None
    own = _defaults(*_choices(options, _CHOSEN[:4]))
    chosen = _choices(options, _CHOSEN)
    names = _augmentations(options)
    if own is None or names is None:
        return None
    augmented = set(names) != set(_augmentations(own[0]) or ())
    if augmented:
        chosen = (*chosen, ("augmentation", f"[{','.join(names)}]" if names else "none"))
    full = _defaults(*chosen)
    if full is None:
        return None
    changed = {group: choice for group, choice in chosen if group in _CHOSEN[4:] and own[0].get(group) != choice}
    if augmented:
        changed["augmentation"] = chosen[-1][1]
    values, follows = full
    for key, default in values.items():
        if key not in options or options[key] == default or "." not in key:
            continue
        if key not in follows or options.get(follows[key]) != options[key]:
            changed[key] = options[key]
    return changed


def default_protocol(dataset: str) -> str:
    """Return the protocol that a data set brings; `official` for one that is not known here."""
    own = _defaults(*_choices({"dataset": dataset}, ("dataset",)))
    return "official" if own is None else own[0]["protocol"]


def _choices(options: Mapping[str, str], groups: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (group, choice) of these groups, none that could be anything but the name of a file in conf/."""
    return tuple(
        (group, options[group]) for group in groups if group in options and _NAME.fullmatch(str(options[group]))
    )


def _augmentations(options: Mapping[str, str]) -> list[str] | None:
    """Return the names of a run's augmentations, which Hydra does not record as a choice; None if one is no name."""
    names = list(dict.fromkeys(key.split(".")[1] for key in options if key.startswith("augmentation.")))
    return names if all(map(_NAME.fullmatch, names)) else None


@cache
def _defaults(*chosen: tuple[str, str]) -> tuple[dict[str, str], dict[str, str]] | None:
    """Compose these choices: options by dotted key with the choices, and the key that a key's value follows."""
    from hydra.errors import HydraException

    try:
        cfg = compose([f"{group}={choice}" for group, choice in chosen])
    except HydraException:
        return None
    raw = flatten(cfg)
    follows = {key: match[1] for key, value in raw.items() if (match := _REFERENCE.fullmatch(value))}
    OmegaConf.resolve(cfg)
    return {**flatten(cfg), **{group: str(choice) for group, choice in cfg.choices.items()}}, follows
