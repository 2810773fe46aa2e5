"""The help of a command: its summary, examples, groups with their choices, and values with their comments."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core import config
from mimii_pl.core.choices import chosen, spell

INTERNAL = ("command", "train", "choices", "run_dir", "hydra")  # top-level keys that are no options
NOT_SHOWN = ("archives", "ground_truth")  # long lists of files; they stay options
GROUP = re.compile(r"  - /?(\w+): \S+(?: +# (.*))?")
COMMENTED = re.compile(r"( *)(?:- )?(\w+):(?: .*?)?(?: +# (.*))?")
CONTINUED = re.compile(r" {8,}# (.*)")
KEY_WIDTH = 40  # columns, at most; longer ones are wrapped


def config_name(command: str) -> str:
    """Return the name of a command's file in `conf/`, without its suffix."""
    return command if command == "train" else f"command/{command}"


def summary(command: str) -> str:
    """Return the first comment of a command's file, without its example and full stop."""
    return first_comment(config.CONF / f"{config_name(command)}.yaml").partition(": `")[0].rstrip(".")


def first_comment(path: Path) -> str:
    """Return the first comment line of a file of `conf/`, apart from its package."""
    comments = (line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# "))
    return next(line for line in comments if not line.startswith("@package"))


def groups(command: str) -> dict[str, str]:
    """Return the groups of choices that a command has, in the order of its file, with their comments."""
    lines = (config.CONF / f"{config_name(command)}.yaml").read_text().splitlines()
    entries = [match.groups(default="") for match in map(GROUP.fullmatch, lines) if match]
    return {name: comment for name, comment in entries if name != "hydra" and (config.CONF / name).is_dir()}


def choices_of(group: str) -> list[str]:
    """Return the choices of a group; files whose names begin with an underscore are machinery."""
    return sorted(path.stem for path in (config.CONF / group).glob("[!_]*.yaml"))


def option_names(command: str) -> list[str]:
    """Return the names of a command's groups and top-level values."""
    composed = config.compose([], config_name(command))
    return list(dict.fromkeys([*groups(command), *(str(key) for key in composed if key not in INTERNAL)]))


def show_help(command: str, overrides: Sequence[str]) -> None:
    """Print the help of a command, with the values that the overrides lead to."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    name = config_name(command)
    with hydra.initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = hydra.compose(name, overrides=list(overrides), return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()  # it knows the user's own configuration folder too
        choices = {group: loader.get_group_options(group, None, name, list(overrides)) for group in groups(command)}
    rows, comments = _group_rows(command, cfg, choices)
    comments |= comments_of(config.CONF / f"{name}.yaml")
    print(cfg.hydra.help.template.rstrip() or f"{summary(command)}.")
    _print_table("Groups (group=choice)", rows)
    values: Any = OmegaConf.to_container(cfg)
    for key in INTERNAL:
        values.pop(key, None)
    _print_table("Values (key=value)", list(_rows(values, "", comments)))


def _group_rows(
    command: str, cfg: DictConfig, choices: dict[str, list[str]]
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return a row for each group, and the comments of the chosen files: dotted key -> comment."""
    recorded = {str(group).partition("@")[0]: choice for group, choice in cfg.hydra.runtime.choices.items()}
    comments: dict[str, str] = {}
    rows = []
    for group, comment in groups(command).items():
        choice = chosen(cfg, recorded, group)
        for file_name in choice if isinstance(choice, list) else [choice]:
            comments |= comments_of(config.CONF / group / f"{file_name}.yaml", group)
        lines = [comment, ", ".join(option for option in choices[group] if not option.startswith("_"))]
        rows.append((f"{group}={spell(choice)}", "\n".join(filter(None, lines))))
    return rows, comments


def _rows(node: dict, prefix: str, comments: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the values of a configuration as `key=value`, with their comments."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if str(name).startswith("_") or name in NOT_SHOWN:
            continue
        if isinstance(value, dict) and value:
            if key in comments:
                yield key, comments[key]
            yield from _rows(value, f"{key}.", comments)
        elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield f"{key}={spell(value)}", comments.get(key, "")


def comments_of(path: Path, prefix: str = "") -> dict[str, str]:
    """Read the comments beside the keys of a file of `conf/`, and of the files it builds on: dotted key -> comment.

    Args:
        prefix: the key that the file's values lie under, unless the file names its package.
    """
    if not path.is_file():
        return {}
    text, key = path.read_text(), ""
    comments: dict[str, str] = {}
    package = re.match(r"# @package (\S+)", text)
    root = package[1].replace("_global_", "") if package else prefix
    content: Any = OmegaConf.load(path)
    for base in (entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"):
        comments |= comments_of(path.with_name(f"{base}.yaml"), prefix)
    parents = [(-1, root)] if root else []  # indent and name of the keys around a line
    for line in text.splitlines():
        if match := COMMENTED.fullmatch(line):
            indent, name, comment = len(match[1]), match[2], match[3]
            parents = [parent for parent in parents if parent[0] < indent]
            parents.append((indent, name))
            key = ".".join(parent for _, parent in parents)
            if comment:
                comments[key] = comment
        elif (match := CONTINUED.fullmatch(line)) and key in comments:
            comments[key] += f" {match[1]}"
    return comments


def _print_table(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table

    from mimii_pl.core.console import Console

    if not rows:
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=KEY_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    for key, comment in rows:
        table.add_row(key, comment)
    console = Console(highlight=False)
    with console.capture() as screen:
        console.print(Padding(table, (0, 0, 0, 2)))
    print(f"\n{title}", *(line.rstrip() for line in screen.get().splitlines()), sep="\n")
