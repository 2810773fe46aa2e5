"""Compose configurations, build the objects they name, and explain mistakes in one line."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from mimii_pl.core import hydra_hooks  # noqa: F401  (registers `machine=`, `search_name` and our sweeper with Hydra)
from mimii_pl.core.arguments import quoted, spell_overrides
from mimii_pl.core.errors import InputError, one_line
from mimii_pl.core.trusted_classes import packages, trust_classes

_PACKAGE = Path(__file__).resolve().parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"  # in a wheel, or in a checkout


def compose(overrides: Sequence[str] = (), name: str = "train", config_dir: str | None = None) -> DictConfig:
    """Compose the configuration of `mimii train <overrides>`, in notebooks and tests, and within a command.

    Args:
        name: a file of `conf/`, such as `train` or `command/listen`.
        config_dir: a folder of more choices, as for `--config-dir`.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    overrides = [*spell_overrides(overrides), *searched(config_dir)]
    state = GlobalHydra.instance()
    command, state.hydra = state.hydra, None  # a command is within Hydra, which composes for one caller at a time
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose(name, overrides=overrides, return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = command
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        composed.pop("hydra")
        composed.pop("command")
    return with_choices(composed, choices)


def searched(config_dir: str | None) -> list[str]:
    """Return the overrides that let choices be found in one more folder, if there is one."""
    if config_dir is None:
        return []
    return [f"hydra.searchpath=[machine://any,{quoted(f'file://{Path(config_dir).resolve()}')}]"]


def with_choices(cfg: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """Fill in `choices`, if the configuration has them: the file chosen in each group, without Hydra's own groups."""
    if "choices" not in cfg:
        return cfg
    names = [str(group) for group in choices]  # one with @ is a part of another choice, such as a member of a committee
    cfg.choices = {name: choices[name] for name in names if "hydra" not in name and "@" not in name}
    if cfg.choices.get("backend") == "none":  # an experiment may have set options of the back end it would have chosen
        cfg.backend = None
    return cfg


def build(node: DictConfig | None, *args: Any, **kwargs: Any) -> Any:
    """Instantiate a node with plain lists and dicts inside; None stays None. Errors a user can mend come unwrapped."""
    import hydra
    from hydra.errors import InstantiationException

    if node is None:
        return None
    try:
        return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError | OSError | MemoryError):
            raise error.__cause__ from None
        raise


def build_data(cfg: DictConfig) -> Any:
    """Build the data module of a configuration, whose classes are trusted by now; it is not set up yet."""
    classifies = "task" in cfg and task_class(cfg, packages(cfg)).is_classification
    return build(
        cfg.dataset,
        machine=cfg.machine.name,
        protocol=build(cfg.protocol),
        features=build(cfg.features),
        target=cfg.target if classifies else None,
        augmentation=list(build(cfg.augmentation).values()),
    )


def task_class(cfg: DictConfig, trust: Collection[str] = ()) -> Any:
    """Return the class of a configuration's task.

    Args:
        trust: packages, besides this one, whose class it may be: the configuration may be a stranger's.
    """
    return trust_classes(cfg, trust, places=("task",))["task"]


def is_trained(cfg: DictConfig, trust: Collection[str] = ()) -> bool:
    """Return False if the detector of a configuration has no weights, so that there is no checkpoint to choose.

    Args:
        trust: as for `task_class`.
    """
    if "model" not in cfg:  # of a fused run
        return True
    return not getattr(trust_classes(cfg, trust, places=("model",))["model"], "training_free", False)


def explain(error: Exception) -> str:
    """Explain a configuration mistake in one line: the fault, the valid choices and the closest of them."""
    cause = error.__cause__ or error
    if match := re.match(r"Error in call to target '(.*)':", str(error)):
        key = re.search(r"\nfull_key: (.+)", str(error))
        return f"{key[1] if key else match[1]}: {one_line(cause)}"
    options = getattr(error, "options", None)
    if options is not None:
        group, _, name = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
        names = [option for option in options if not option.startswith("_")]
        return no_such_choice(group, name, names)
    key, parent = getattr(cause, "key", None), getattr(cause, "parent_node", None)
    if key is not None and isinstance(parent, DictConfig):
        section = str(getattr(cause, "full_key", key) or key).rpartition(".")[0]
        names = [str(name) for name in parent if not str(name).startswith("_") and name != "command"]
        name, owner = (f"{section}.{key}", section) if section else (key, "the configuration")
        return f"{name}: no such key. {owner} has: {', '.join(names)}.{closest(str(key), names)}"
    return str(error).split("\nfull_key")[0].strip()


def no_such_choice(group: str, name: str, names: list[str]) -> str:
    """Return the message for a choice that a group does not have."""
    return f"{group}={name}: no such choice. {group} is one of: {', '.join(names)}.{closest(name, names)}"


def closest(name: str, names: list[str]) -> str:
    """Return ` Did you mean ...?` if one of the names is close, else an empty string."""
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
