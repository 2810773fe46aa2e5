"""Limits from which a measure of a recording becomes a finding."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mimii_pl.core.config import closest
from mimii_pl.core.errors import InputError

SHARE_LIMITS = ("clipped", "clipped_error", "dropped_error", "level_auc", "stopped_share", "band", "hum", "near")


@dataclass(frozen=True)
class Limits:
    """Limits of the check; `conf/command/check.yaml` explains each, with its unit."""

    clipped: float = 0.0001
    clipped_error: float = 0.01
    dropout: float = 0.01
    dropped_error: float = 0.1
    offset: float = 0.3
    level: float = 10.0
    level_auc: float = 0.9
    stopped: float = 20.0
    stopped_share: float = 0.5
    duration: float = 2.0
    bits: float = 10.0
    dead: float = 40.0
    band: float = 0.85
    cliff: float = 20.0
    hum: float = 0.1
    near: float = 0.15
    unlike: float = 3.0
    spread: float = 6.0
    few: float = 10.0


def read_limits(options: Mapping[str, Any]) -> Limits:
    """Read limits from the values of options.

    Raises:
        InputError: there is no such limit, or it is not a positive number; a share is at most 1.
    """
    names = list(asdict(Limits()))
    for name, value in options.items():
        if name not in names:
            raise InputError(f"limits.{name}: no such limit. There are: {', '.join(names)}.{closest(name, names)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
            raise InputError(f"limits.{name}={value}: should be a number above 0")
        if name in SHARE_LIMITS and value > 1:
            raise InputError(f"limits.{name}={value}: should be a share, from 0 to 1")
    return Limits(**{name: float(value) for name, value in options.items()})
