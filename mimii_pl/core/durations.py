"""Durations as one types them."""

import re

from mimii_pl.core.errors import InputError

SECONDS_PER = {"s": 1, "m": 60, "h": 3600}


def share_of_time(time: str, runs: int) -> str:
    """Divide a time among runs, as Lightning's `max_time` has it.

    Raises:
        InputError: it is no time.

    >>> share_of_time("10m", 4)
    '00:00:02:30'
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(time))
    seconds = round(float(match[1]) * SECONDS_PER[match[2]] / runs) if match else 0
    if not seconds:
        raise InputError(f"time={time}: should be a time, such as 90s, 10m or 2h")
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days:02}:{hour:02}:{minute:02}:{second:02}"
