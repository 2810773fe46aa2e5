"""A run's configuration as a file of `conf/experiment/`: repeated, varied, kept under a name."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.config import compose, explain
from mimii_pl.core.errors import InputError

NOT_KEPT = ("experiment", "sweep", "sweep/space", "logger")  # groups: how it came about, where it was recorded
OF_ITS_OWN = ("run_dir", "resume", "best", "seed", "choices.", "sweep.", "trainer.logger")  # of each run


def as_experiment(cfg: DictConfig, comment: str) -> str:
    """A resolved configuration as yaml: its choices, and the values in which it differs from what they say.

    Seed, run directory and logger are no part of it.

    Raises:
        InputError: one of its choices does not exist here.
    """
    from hydra.errors import HydraException

    # several files of a group at once are no choice to Hydra
    choices = {"augmentation": list(cfg.augmentation) or "none", **cfg.choices}
    choices = {group: one for group, one in choices.items() if one is not None and group not in NOT_KEPT}
    try:
        fresh = compose([f"{group}={_word(choice)}" for group, choice in choices.items()])
    except HydraException as error:
        raise InputError(
            f"{cfg.run_dir}: its configuration cannot be composed in this installation: {explain(error)}"
        ) from None
    defaults = [*({f"override /{group}": choice} for group, choice in reversed(choices.items())), "_self_"]
    values = _wherever(_differences(cfg, fresh), str(cfg.run_dir))
    return f"# @package _global_\n# {comment}\n" + OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults, **values}))


def _wherever(value: Any, run_dir: str) -> Any:
    """The same with this run's directory as `${run_dir}`."""
    if isinstance(value, dict):
        return {key: _wherever(one, run_dir) for key, one in value.items()}
    if isinstance(value, list):
        return [_wherever(one, run_dir) for one in value]
    return value.replace(run_dir, "${run_dir}") if isinstance(value, str) else value


def quoted(value: Any) -> str:
    """As a value of Hydra's command line, whatever is in it."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def _word(choice: Any) -> str:
    return f"[{','.join(choice)}]" if isinstance(choice, list) else quoted(choice)


def _differences(cfg: DictConfig, fresh: DictConfig) -> dict[str, Any]:
    """Values of a resolved configuration that are not what its choices say.

    Those that the choices' files take from others (`max_epochs: ${training.epochs}`) come after these, and are left to
    them where they agree: so the experiment can still be varied.
    """
    fresh.run_dir, fresh.seed = cfg.run_dir, cfg.seed
    leaves = {key: value for key, value in _leaves(OmegaConf.to_container(cfg)) if not key.startswith(OF_ITS_OWN)}
    found = OmegaConf.create({})
    for key in sorted(leaves, key=lambda key: _depends(fresh, key)):
        value = OmegaConf.select(fresh, key, default="???")
        if (OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value) != leaves[key]:
            for node in (fresh, found):
                OmegaConf.update(node, key, leaves[key], force_add=True)
    return OmegaConf.to_container(found)


def _leaves(node: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that is no mapping; lists whole."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _depends(fresh: DictConfig, key: str) -> bool:
    """Whether a value is taken from another one, or as a list may hold one that is."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(fresh, parent) if parent else fresh
    if not OmegaConf.is_dict(node) or name not in node:
        return False
    return OmegaConf.is_interpolation(node, name) or OmegaConf.is_list(node[name])
