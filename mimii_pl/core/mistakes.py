"""Explain mistakes on the command line in one line: the fault, and the way out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, Node

from mimii_pl.core import config
from mimii_pl.core.errors import InputError
from mimii_pl.core.help import choices_of, groups, option_names

LIST_GROUPS = ("augmentation", "experiment")  # groups of which several files can be chosen


def refuse_choices(words: Sequence[str]) -> None:
    """Raise InputError for what a group cannot take: nothing, a list, or a file of machinery, named with an underscore.

    Args:
        words: of the command line, as Hydra gets them.
    """
    for item in words:
        group, _, choices = item.partition("=")
        if not (group and (config.CONF / group).is_dir()):
            continue
        if choices in ("", "null"):
            raise InputError(f"{item}: choose one of: {', '.join(choices_of(group))}")
        if choices.startswith("[") and group not in LIST_GROUPS:
            raise InputError(
                f"{item}: {group} takes one choice; -m {group}={choices.strip('[]')} makes one run for each"
            )
        for name in choices.strip("[]").split(","):
            if name.startswith("_") and (config.CONF / group / f"{name}.yaml").is_file():
                raise InputError(config.no_such_choice(group, name, choices_of(group)))


def unresolved(cfg: DictConfig) -> str | None:
    """Explain in one line the first `${...}` of a configuration that stands for nothing; None if there is none."""
    from omegaconf.errors import GrammarParseError, InterpolationResolutionError

    for key, node in _leaves(cfg, ""):
        try:
            node._maybe_dereference_node(throw_on_resolution_failure=True)
        except (GrammarParseError, InterpolationResolutionError) as error:
            reason = str(error).splitlines()[0]
            return f"{key}={node._value()}: {reason}. A path with ${{...}} in its name has to exist"
    return None


def _leaves(node: Any, above: str) -> Iterator[tuple[str, Node]]:
    names: Iterable[Any] = node if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        child, key = node._get_node(name), f"{above}{name}"
        if isinstance(child, DictConfig | ListConfig) and not child._is_none() and not child._is_interpolation():
            yield from _leaves(child, f"{key}.")
        elif isinstance(child, Node):
            yield key, child


def explain_option(error: Exception, command: str) -> str:
    """Explain an error of Hydra or OmegaConf in one line, for the command that was given."""
    from omegaconf.errors import GrammarParseError, InterpolationResolutionError

    text, cause = str(error), error.__cause__ or error
    if isinstance(cause, GrammarParseError | InterpolationResolutionError):
        return f"{cause.full_key or '${...}'}: {str(cause).splitlines()[0]}"
    if match := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '((.*?)=(.*))'", text):
        item, key, values = match.groups()
        way_out = "add -m for one run each"
        if key not in groups(command) or key in LIST_GROUPS:
            way_out += f", or write {key}=[{values}] for a list"
        return f"{item}: several values: {way_out}"
    if match := re.match(r"Could not override '(?:.*/)?(\w+)(?:@.*)?'", text):
        return _no_such_option(match[1], command)
    key, parent = getattr(cause, "key", None), getattr(cause, "parent_node", None)
    if key is not None and parent is not None and parent._get_parent() is None:
        return _no_such_option(str(key), command)
    return re.split(r"\nSee https://hydra.cc|\n\nConfig search path", config.explain(error))[0]


def _no_such_option(name: str, command: str) -> str:
    names = option_names(command)
    return f"{name}: no such option. {command} has: {', '.join(names)}.{config.closest(name, names)}"
