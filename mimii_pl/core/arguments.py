"""The words of a command line, spelled so that Hydra reads what the user wrote.

Hydra parses values by a grammar of its own, in which `=`, `,`, brackets, quotes and letters such as `ü` need quotes,
and `1e3`, `true` and `null` are no text. Here a path is a path and a name a name, as in any other program; a value that
is quoted for Hydra keeps its meaning.
"""

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NoReturn

from mimii_pl.core.errors import InputError

PATH_OPTIONS = (  # a new option that is a path belongs here
    "input",
    "marks",
    "run",
    "output",
    "table",
    "resume",
    "best",
    "plant",
    "events",
    "dataset.root",
    "dataset.sounds",
    "dataset.exclude",
    "dataset.cache_dir",
    "model.weights",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.launcher.submitit_folder",
)
PLAIN_OPTIONS = (
    "machine_id",
    "name",
    "alias",
    "part",
    "model.sha256",
    "source",
    "output.mqtt",
    "page.token",
    "tracking_uri",
    "experiment_name",
    "trainer.logger.tracking_uri",
    "trainer.logger.experiment_name",
    "trainer.logger.run_name",
    "sweep.name",
    "sweep.storage",
    "dataset.columns.",  # and all below it
)
WORD_OPTIONS = (  # one name, or several by Hydra's rules
    "machine",
    "dataset.normal",
    "dataset.anomaly",
    "dataset.ids",
    "output.webhook",
    "output.apprise",
    "only.",
)
NULL_IS_NONE = (  # of these, those where `null` means that none is given
    "output",
    "table",
    "resume",
    "best",
    "plant",
    "source",
    "output.mqtt",
    "output.webhook",
    "output.apprise",
    "page.token",
    "dataset.sounds",
    "dataset.exclude",
    "machine_id",
    "name",
    "alias",
    "part",
    "model.weights",
    "model.sha256",
    "tracking_uri",
    "trainer.logger.run_name",
    "sweep.name",
    "sweep.storage",
    "dataset.columns.",
    "only.",
)
ONE_VALUE = ("resume", "best", "hydra.")  # options that no sweep varies
BEFORE_VALUE = re.compile(r"(?:\+\+?)?([^@=]*)(?:@[^=]*)?=")
SWEEP_FUNCTION = re.compile(r"(?:choice|range|interval|shuffle|sort|glob|tag)\(.*\)", re.DOTALL)
PIECE = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[^][]*\]|[^,]*?)\s*,""", re.DOTALL)
INTERPOLATION = re.compile(r"(\\*)\$\{")
UNREADABLE = object()
ALONE = ("run", "multirun", "cfg", "info", "shell_completion")  # flags of which Hydra takes one


# --- flags ------------------------------------------------------------------------------------------------------------
def split_flags(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Split a command line into Hydra's flags, which may stand anywhere, and overrides.

    Raises:
        InputError: there is no such flag, or it has a wrong value.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}. mimii <command> --hydra-help lists the flags")

    following = [*arguments[1:], ""]
    words = [
        "--info=all" if word in ("--info", "-i") and (not after or "=" in after or after[0] in "-+~") else word
        for word, after in zip(arguments, following, strict=False)
    ]
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # it would print its usage over several lines
    flags, rest = parser.parse_known_intermixed_args(words)
    if rest:
        refuse(f"{next((word for word in rest if word.startswith('-')), rest[0])}: no such flag")
    overrides = flags.overrides
    del flags.overrides
    flags.config_dir = flags.config_dir and os.path.expanduser(flags.config_dir)
    return flags, overrides


def spell_flags(flags: Namespace) -> list[str]:
    """Spell flags as words, which Hydra expects before all overrides."""
    given = {_flag(name): value for name, value in vars(flags).items() if value}
    return [flag if value is True else f"{flag}={value}" for flag, value in given.items()]


def validate_flags(flags: Namespace, words: Sequence[str]) -> None:
    """Raise InputError for flags that exclude one another, or lack what they need.

    Args:
        words: the overrides that they stand with.
    """
    given = [_flag(name) for name in ALONE if getattr(flags, name)]
    if len(given) > 1:
        way_out = ": without -m, it shows the configuration of one run" if flags.multirun and flags.cfg else ""
        raise InputError(f"{' and '.join(given)}: give one of them{way_out}")
    if flags.resolve and not flags.cfg:
        raise InputError("--resolve: give it with --cfg")
    if flags.shell_completion and not any(word.startswith(("install=", "uninstall=", "query=")) for word in words):
        raise InputError("--shell-completion: add install=bash, or uninstall=bash")


def _flag(name: str) -> str:
    return "-m" if name == "multirun" else f"--{name.replace('_', '-')}"


# --- values -----------------------------------------------------------------------------------------------------------
def quoted(value: Any) -> str:
    """Quote any value for Hydra's command line.

    >>> quoted("a,b"), quoted("it's")
    ("'a,b'", "'it\\\\'s'")
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(str(value), Quote.single).with_quotes()


def spell_text(text: str) -> str:
    """Spell a text so that Hydra reads it as this text, quoted only where it has to be.

    >>> spell_text("data/fan"), spell_text("data/fan (1)"), spell_text("1e3")
    ('data/fan', "'data/fan (1)'", "'1e3'")
    """
    return text if _read(text) == text else quoted(text)


def spell_literally(text: str) -> str:
    """Spell a text in which `${x}` is no interpolation.

    >>> spell_literally("data/fan"), spell_literally("data/${x}")
    ('data/fan', "'data/\\\\${x}'")
    """
    return quoted(escaped(text)) if "${" in text else spell_text(text)


def escaped(text: str) -> str:
    """Escape what OmegaConf would take for the begin of an interpolation."""
    return INTERPOLATION.sub(lambda match: 2 * match[1] + "\\${", text)


def spell_path(key: str, text: str) -> str:
    """Spell a path for Hydra: as it stands, `~` expanded; in quotes of Hydra's, as these say.

    `${` begins an interpolation, unless the path exists, or the folder with it in its name.

    Raises:
        InputError: it is empty; the message names the option, `key`.
    """
    return _literal(key, text, is_path=True)


def read_text(spelling: str) -> str:
    """Return the text that a value stands for: without Hydra's quotes, if it has any.

    >>> read_text("'data/fan (1)'"), read_text("data/fan (1)")
    ('data/fan (1)', 'data/fan (1)')
    """
    if not _is_quoted(spelling):
        return spelling
    return re.sub(r"(\\*)\\\$\{", lambda match: match[1][: len(match[1]) // 2] + "${", _read(spelling).text)


def spell_overrides(overrides: Iterable[str], *, sweeps: bool = False) -> list[str]:
    """Spell the overrides of a command line for Hydra; what is spelled already stays.

    Args:
        sweeps: commas separate the values of a sweep, also in paths, unless a file or folder has that name.

    Raises:
        InputError: one is no `key=value`, or its value can be read in several ways.
    """
    return [_override(item, sweeps) for item in overrides]


def read_override(item: str) -> tuple[str, Any]:
    """Return key and value of an override that is spelled for Hydra, `key=value`.

    Raises:
        InputError: it has no value, or several.
    """
    override = _parse(item)
    if override is None or override.is_delete() or override.is_sweep_override():
        raise InputError(f"{item}: give it as key=value, with one value")
    return override.key_or_group, override.value()


def _override(item: str, sweeps: bool) -> str:
    match = BEFORE_VALUE.match(item)
    if item.startswith("~"):
        return item
    if match is None:
        raise InputError(f"{item or repr(item)}: write {item or 'key'}=<value>")
    start, key, text = match[0], match[1], item[match.end() :]
    if _parse(f"{start}x") is None:
        raise InputError(f"{item}: {start[:-1]} is no name of an option")
    is_path, is_name = _is_one(key, PATH_OPTIONS), _is_one(key, WORD_OPTIONS)
    if is_path or _is_one(key, PLAIN_OPTIONS):
        return start + _literal(key, text, is_path=is_path, sweeps=sweeps and not _is_one(key, ONE_VALUE))
    return item if not is_name and _read(text) is not UNREADABLE else start + _words(key, text, is_name)


def _is_one(key: str, options: Sequence[str]) -> bool:
    return any(key.startswith(option) if option.endswith(".") else key == option for option in options)


def _literal(key: str, text: str, *, is_path: bool, sweeps: bool = False) -> str:
    """Spell a value that is text as it stands."""
    if is_path and not text:
        raise InputError(f"{key}=: the path is empty")
    whole = os.path.expanduser(text) if is_path else text
    if is_path and _is_there(whole):
        return spell_text(whole) if key.startswith("hydra.") else spell_literally(whole)  # Hydra resolves its own twice
    if _is_quoted(text) or _is_none(key, text) or (sweeps and SWEEP_FUNCTION.fullmatch(text)):
        return text
    pieces = PIECE.findall(f"{text},")
    if sweeps and len(pieces) > 1:
        return ",".join(_literal(key, piece, is_path=is_path) for piece in pieces)
    return spell_text(whole)


def _is_there(path: str) -> bool:
    """Return whether a path exists, or a new file's folder, the name of which has a `${`."""
    folder = os.path.dirname(path)
    return os.path.lexists(path) or ("${" in folder and os.path.isdir(folder))


def _words(key: str, text: str, is_name: bool) -> str:
    """Spell a word, or words between commas or in a list, each as text where Hydra would read none.

    Raises:
        InputError: the value may be meant as a list, a mapping, a call or a quotation.
    """
    if text[:1] == "[" and text[-1:] == "]" and not set("[]") & set(text[1:-1]):
        return f"[{_words(key, text[1:-1], is_name)}]"
    pieces = PIECE.findall(f"{text},")
    if len(pieces) > 1 and not SWEEP_FUNCTION.fullmatch(text):
        return ",".join(_words(key, piece, is_name) for piece in pieces)
    value = _read(text)
    if value is not UNREADABLE:
        is_text = not is_name or _is_none(key, text) or not isinstance(value, int | float | None)
        return text if is_text else quoted(text)
    if text[0] in "[{'\"" or (not is_name and set("()[]{}") & set(text)):
        item = _for_shell(f"{key}={quoted(text)}")
        raise InputError(f"{key}={text}: Hydra cannot read the value. If it is plain text, quote it: {item}")
    return quoted(text)


def _is_none(key: str, text: str) -> bool:
    return text == "null" and _is_one(key, NULL_IS_NONE)


def _for_shell(item: str) -> str:
    return f'"{item}"' if not set('"$`\\!') & set(item) else "'" + item.replace("'", "'\\''") + "'"


def _is_quoted(text: str) -> bool:
    from hydra.core.override_parser.types import QuotedString

    return isinstance(_read(text), QuotedString)


def _read(text: str) -> Any:
    """Return the value that Hydra reads, quotations as `QuotedString`."""
    override = _parse(f"key={text}")
    return UNREADABLE if override is None else override._value


def _parse(item: str) -> Any:
    """Parse an override by Hydra's grammar; None: it cannot be parsed."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(item)
    except HydraException:
        return None


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()
