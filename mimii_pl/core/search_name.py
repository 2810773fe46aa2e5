"""What a search is called: the same where the same is asked for, so that the same command finds it again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ASIDE = ("sweep.trials=", "sweep.at_once=", "threads=", "logger=", "report=", "efficiency.", "published=")  # how


def search_name(
    name: str | None, way: str, model: str, machine: str, overrides: Sequence[str], space: Mapping[str, Any] | None
) -> str:
    """`<model>-<machine>-<digest>` of a search, `grid-<digest>` of a grid; its own name where it was given one.

    Args:
        way: the file of `conf/sweep`.
        overrides: of the command line, without Hydra's own (launchers, folders).
        space: option -> its values.
    """
    return name or "-".join(("grid",) if way == "grid" else (model, machine)) + f"-{digest(overrides, space)}"


def storage(options: Mapping[str, Any], folder: Path) -> str:
    """Where Optuna keeps a search: the URL that was given, else SQLite in the search's folder."""
    return options["storage"] or f"sqlite:///{folder.resolve() / 'optuna.db'}"


def digest(overrides: Sequence[str], space: Mapping[str, Any] | None) -> str:
    """Eight characters that stand for what is searched: how many trials, where and side by side or not left out."""
    asked = sorted(item for item in overrides if not item.startswith(ASIDE))
    told = json.dumps([asked, {key: str(values) for key, values in sorted((space or {}).items())}])
    return hashlib.sha256(told.encode()).hexdigest()[:8]
