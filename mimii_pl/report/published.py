"""Published figures: `published.csv`, one figure per line with its source.

It holds only figures that were read in their source (a paper, a README), as fractions. They apply to the data and the
protocol of that source, which `dataset` and `note` name: a reference for our results, not a ranking.
"""

import csv
import difflib
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mimii_pl.core.errors import InputError

FILE = Path(__file__).with_name("published.csv")


class PublishedFigure(NamedTuple):
    """One figure: `metric` of a machine ID, or over all IDs of a machine type where `id` is `mean`, `min` or `max`.

    `machine` is `all` for the mean over the machine types of the source. `value` is a fraction.
    """

    key: str
    paper: str
    dataset: str
    machine: str
    id: str
    metric: str
    value: float
    note: str


@cache
def everything() -> tuple[PublishedFigure, ...]:
    """Read all published figures, in the order of the file."""
    with FILE.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return tuple(PublishedFigure(**{**row, "value": float(row["value"])}) for row in rows)


def published(keys: str | Sequence[str] | None, machines: Collection[str] | None = None) -> list[PublishedFigure]:
    """Return the figures of some papers.

    Args:
        keys: of papers, `kim2021`; `all`: every paper; None: none.
        machines: machine types to return figures of; None: every type.

    Raises:
        InputError: there is no such key.
    """
    known = list(dict.fromkeys(figure.key for figure in everything()))
    wanted = known if keys == "all" else [keys] if isinstance(keys, str) else list(keys or ())
    for key in wanted:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise InputError(f"published={key}: no such key. Published figures: {', '.join(known)}.{hint}")
    return [
        figure for figure in everything() if figure.key in wanted and (machines is None or figure.machine in machines)
    ]
