"""Words for a first row that others beat on the test clips."""

from collections.abc import Mapping

from mimii_pl.report.grid import POINTER
from mimii_pl.report.tables import number
from mimii_pl.scoring.bootstrap import Interval

LISTED_ROWS = 5  # rows that an alert names


def interval_text(interval: Interval | str) -> str:
    """Return a difference with its interval, `.052 [.021, .083] *`, marked if 0 lies outside; or why there is none."""
    if isinstance(interval, str):
        return interval
    rounded = (round(value, 3) for value in interval)  # no -.000
    difference, low, high = (number(abs(value)) if value >= 0 else f"-{number(-value)}" for value in rounded)
    return f"{difference} [{low}, {high}]{' *' if interval.is_clear else ''}"


def beaten_alert(better: Mapping[str, Interval], place: str = "") -> str:
    """Say that rows beat the first on the test clips, and which: a head, then a line per row; empty if there are none.

    Args:
        better: name -> AUC minus that of the first row, whose interval lies above 0; largest first.
        place: of the ranking, where several stand in one table; empty: it needs none.
    """
    if not better:
        return ""
    rows = "1 row beats" if len(better) == 1 else f"{len(better)} rows beat"
    first = f"The first row of {place}" if place else "The first row"
    lines = [f"{first} is not the best: {rows} it on the test clips"]
    lines += [
        f"{POINTER} {name}: AUC {number(one.difference)} higher, interval {number(one.low)} to {number(one.high)}"
        for name, one in list(better.items())[:LISTED_ROWS]
    ]
    if len(better) > LISTED_ROWS:
        lines.append(f"and {len(better) - LISTED_ROWS} more")
    return "\n".join(lines)
