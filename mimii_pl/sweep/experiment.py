"""Write a run's configuration as an experiment, a file as in `conf/experiment/`, to repeat or vary the run."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.arguments import quoted
from mimii_pl.core.config import compose, explain
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.core.stored_config import require_plain
from mimii_pl.core.trusted_classes import dotted, named_nodes

SKIPPED_GROUPS = ("experiment", "sweep", "sweep/space", "logger")  # origin of the run, and the store that recorded it
SKIPPED_OPTIONS = (
    "run_dir",
    "resume",
    "best",
    "trust",
    "seed",
    "choices.",
    "sweep.",
    "trainer.logger",
)  # differ in every run


def as_experiment(cfg: DictConfig, comment: str, config_dir: str | None = None) -> str:
    """Return a resolved configuration as yaml: its choices, and the values that differ from those of the choices.

    Seed, run directory and logger are skipped.

    Args:
        config_dir: a folder of more choices, as for `--config-dir`.

    Raises:
        InputError: one of its choices does not exist in this installation.
    """
    from hydra.errors import HydraException

    # Hydra does not record the choices of a group that takes several files
    choices = {"augmentation": list(cfg.augmentation) or "none", **cfg.choices}
    choices = {group: choice for group, choice in choices.items() if choice is not None and group not in SKIPPED_GROUPS}
    try:
        fresh = compose([f"{group}={_word(choice)}" for group, choice in choices.items()], config_dir=config_dir)
    except HydraException as error:
        raise InputError(
            f"{cfg.run_dir}: its configuration cannot be composed in this installation: {explain(error)}"
        ) from None
    defaults = [*({f"override /{group}": choice} for group, choice in reversed(choices.items())), "_self_"]
    differences = _differences(cfg, fresh)
    _require_known(differences, cfg)
    values = _relocatable(differences, str(cfg.run_dir))
    return f"# @package _global_\n# {printable(comment)}\n" + OmegaConf.to_yaml(
        OmegaConf.create({"defaults": defaults, **values})
    )


def _require_known(differences: dict[str, Any], cfg: DictConfig) -> None:
    """Raise InputError for a class that the configuration does not name in the same place, where it was checked."""
    plain: Any = OmegaConf.to_container(cfg)
    require_plain(differences, f"{cfg.run_dir}: ")
    named = {(path, node["_target_"]) for path, node in named_nodes(plain)}
    if strangers := {(path, node["_target_"]) for path, node in named_nodes(differences)} - named:
        path, name = min(strangers)
        raise InputError(f"{cfg.run_dir}: {dotted(path)}._target_={name}: not loaded: it was not checked")


def _relocatable(value: Any, run_dir: str) -> Any:
    """Replace this run's directory by `${run_dir}`."""
    if isinstance(value, dict):
        return {key: _relocatable(item, run_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_relocatable(item, run_dir) for item in value]
    return value.replace(run_dir, "${run_dir}") if isinstance(value, str) else value


def _word(choice: Any) -> str:
    return f"[{','.join(choice)}]" if isinstance(choice, list) else quoted(choice)


def _differences(cfg: DictConfig, fresh: DictConfig) -> dict[str, Any]:
    """Return the values of a resolved configuration that differ from those of its choices.

    Values that the choices interpolate (`max_epochs: ${training.epochs}`) come last, and are skipped where they agree,
    so that the experiment can still be varied.
    """
    fresh.run_dir, fresh.seed = cfg.run_dir, cfg.seed
    plain: Any = OmegaConf.to_container(cfg)
    leaves = {key: value for key, value in _leaves(plain) if not key.startswith(SKIPPED_OPTIONS)}
    differing = OmegaConf.create({})
    for key in sorted(leaves, key=lambda key: _depends(fresh, key)):
        value = OmegaConf.select(fresh, key, default="???")
        if (OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value) != leaves[key]:
            for node in (fresh, differing):
                OmegaConf.update(node, key, leaves[key], force_add=True)
    differences: Any = OmegaConf.to_container(differing)
    return differences


def _leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of every entry that is not a mapping; lists are not split."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _depends(fresh: DictConfig, key: str) -> bool:
    """Return whether a value is an interpolation, or a list, which may hold one."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(fresh, parent) if parent else fresh
    if not OmegaConf.is_dict(node) or name not in node:
        return False
    return OmegaConf.is_interpolation(node, name) or OmegaConf.is_list(node[name])
