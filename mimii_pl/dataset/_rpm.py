"""Speed of a shaft, from what a data set records about a clip."""

import math
import re
from collections.abc import Mapping
from typing import Any

RPM_UNIT = re.compile(r"(?<![a-z])(rpm|r/min|u/min|1/min|min\^?-1)(?![a-z])", re.IGNORECASE)
SPEED_NAMES = ("speed", "rotation", "drehzahl")  # of attributes whose values may have the unit


def told_rpm(attributes: Mapping[str, Any]) -> float | None:
    """Return the speed in revolutions per minute; None if no attribute tells one.

    The unit is in the name of the attribute (`rpm`, `speed_rpm`, `speed [1/min]`), or in the value of one that is named
    after a speed (`speed`: `1480 rpm`). Of several, that with the shortest name counts.

    >>> told_rpm({"rpm": "1480"}), told_rpm({"Motor speed": "2950,5 rpm"}), told_rpm({"speed": "6"})
    (1480.0, 2950.5, None)
    """
    for name in sorted(map(str, attributes), key=len):
        text = str(attributes[name])
        named = any(word in name.lower() for word in SPEED_NAMES)
        if RPM_UNIT.search(name) or (named and RPM_UNIT.search(text)):
            return _number(RPM_UNIT.sub("", text).strip())
    return None


def _number(text: str) -> float | None:
    """Read a number above 0, with a point or a comma; None for others, and where a comma may separate thousands."""
    if not re.fullmatch(r"\d+([.,]\d+)?", text) or re.fullmatch(r"\d+,\d{3}", text):
        return None
    value = float(text.replace(",", "."))
    return value if 0 < value < math.inf else None
