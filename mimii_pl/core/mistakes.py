"""Explain mistakes on the command line in one line: the fault, and the way out."""

import re
from collections.abc import Sequence

from mimii_pl.core import config
from mimii_pl.core.errors import InputError
from mimii_pl.core.help import choices_of, groups, option_names


def refuse_machinery(arguments: Sequence[str]) -> None:
    """Raise InputError for a choice that is a file of machinery, whose name begins with an underscore."""
    for item in arguments:
        group, _, choices = item.partition("=")
        for name in choices.strip("[]").split(","):
            if name.startswith("_") and (config.CONF / group / f"{name}.yaml").is_file():
                raise InputError(config.no_such_choice(group, name, choices_of(group)))


def explain_option(error: Exception, command: str) -> str:
    """Explain an error of Hydra or OmegaConf in one line, for the command that was given."""
    text = str(error)
    if match := re.match(r"Error parsing override '(.*)'\n(.*)", text):
        item, reason = match.groups()
        if reason.startswith("missing EQUAL"):
            return f"{item}: write {item}=<value>"
        return f"{item}: cannot be read as key=value: {reason}"
    if match := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '((.*?)=(.*))'", text):
        item, key, values = match.groups()
        way_out = "add -m for one run each"
        if key not in groups(command) or key == "augmentation":
            way_out += f", or write {key}=[{values}] for a list"
        return f"{item}: several values: {way_out}"
    if match := re.match(r"Could not override '(?:.*/)?(\w+)(?:@.*)?'", text):
        return _no_such_option(match[1], command)
    key, parent = getattr(error.__cause__ or error, "key", None), getattr(error.__cause__ or error, "parent_node", None)
    if key is not None and parent is not None and parent._get_parent() is None:
        return _no_such_option(str(key), command)
    return config.explain(error).partition("\nSee https://hydra.cc")[0]


def _no_such_option(name: str, command: str) -> str:
    names = option_names(command)
    return f"{name}: no such option. {command} has: {', '.join(names)}.{config.closest(name, names)}"
