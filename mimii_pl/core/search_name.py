"""Names of searches. The same command gives the same name, so that it finds its search again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimii_pl.core.addresses import whole_address
from mimii_pl.core.errors import InputError

# options that say how a search is run, not what it searches
NOT_SEARCHED = ("sweep.trials=", "sweep.at_once=", "threads=", "logger=", "report=", "efficiency.", "published=")


def search_name(
    name: str | None, way: str, model: str, machine: str, overrides: Sequence[str], space: Mapping[str, Any] | None
) -> str:
    """Name a search `<model>-<machine>-<digest>`, a grid `grid-<digest>`; a given name is kept.

    Args:
        name: given by the user; None: make one.
        way: the file of `conf/sweep`.
        overrides: of the command line, without Hydra's own (launchers, folders).
        space: option -> its values.
    """
    return name or "-".join(("grid",) if way == "grid" else (model, machine)) + f"-{digest(overrides, space)}"


def storage(options: Mapping[str, Any], folder: Path) -> str:
    """Return the whole URL of Optuna's storage: the one that was given, else SQLite in the search's folder.

    Raises:
        InputError: its password is not known in this process.
    """
    url = whole_address(options["storage"] or f"sqlite:///{folder.resolve() / 'optuna.db'}")
    if url is None:
        raise InputError(f"sweep.storage={options['storage']}: its password is not stored: give it on the command line")
    return url


def digest(overrides: Sequence[str], space: Mapping[str, Any] | None) -> str:
    """Digest what is searched into eight characters; the number of trials and how they run do not count."""
    searched = sorted(item for item in overrides if not item.startswith(NOT_SEARCHED))
    text = json.dumps([searched, {key: str(values) for key, values in sorted((space or {}).items())}])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
