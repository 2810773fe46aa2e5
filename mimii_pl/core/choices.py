"""Choices in the groups of a configuration: what was chosen, and what the file of a model brought with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.config import CONF


def brought_choices(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, str]:
    """Return the choices that the chosen model changed: group -> choice, as the command line spells it.

    Choices that are the defaults of `conf/train.yaml` anyway, or that something else has changed since, are skipped.

    Args:
        overrides: of the command line; the groups given there are skipped.
    """
    if "model" not in cfg.choices:
        return {}
    defaults = _changes("train")
    given = {item.partition("=")[0].lstrip("+~").partition("@")[0] for item in overrides}
    brought = {}
    for group, choice in _changes(f"model/{cfg.choices.model}").items():
        if (
            group not in given
            and choice not in (defaults.get(group), None)
            and choice == chosen(cfg, cfg.choices, group)
        ):
            brought[group] = spell(choice)
    return brought


def chosen(cfg: DictConfig, choices: Mapping[str, Any], group: str) -> str | list[str]:
    """Return the file chosen in a group, or the files, in order; `choices` are those that Hydra records: no lists."""
    return choices[group] if group in choices else list(cfg.get(group) or ())


def spell(value: Any) -> str:
    """Spell a value as the command line takes it.

    >>> spell(None), spell(True), spell(["noise", "band_mask"])
    ('null', 'true', '[noise,band_mask]')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list):
        return f"[{','.join(map(spell, value))}]"
    return str(value)


def _changes(name: str) -> dict[str, Any]:
    """Read the choices in the defaults list of a file of `conf/`, those of the files it builds on first."""
    path = CONF / f"{name}.yaml"
    if not path.is_file():  # a model from the user's own configuration folder
        return {}
    changes: dict[str, Any] = {}
    for entry in OmegaConf.to_container(OmegaConf.load(path)).get("defaults", []):  # type: ignore[union-attr]  # a dict
        if isinstance(entry, dict):
            changes |= {key.removeprefix("override ").removeprefix("/"): choice for key, choice in entry.items()}
        elif entry != "_self_":
            changes |= _changes(f"{path.parent.name}/{entry}")
    return changes
