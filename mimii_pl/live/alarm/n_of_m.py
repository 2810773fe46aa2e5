"""Levels on the p-values of several windows."""

from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm._counted import CountedRule

MOST_WINDOWS = 1000


class NOfM(CountedRule):
    """Raises a level when n of the latest m windows have a p-value at or below its limit.

    Args:
        n: windows that must be low.
        m: windows that are looked at.
        warn, alarm: limits as p-values; None: the highest one that keeps the promise.
        clear: clear limit as a multiple of the set limit.
        **options: of `AlarmRule`.
    """

    def __init__(
        self,
        *,
        n: int = 6,
        m: int = 8,
        warn: float | None = None,
        alarm: float | None = None,
        clear: float = 2.0,
        **options: Any,
    ) -> None:
        if type(n) is not int or type(m) is not int or not 1 <= n <= m <= MOST_WINDOWS:
            raise InputError(f"alarm.n={n} alarm.m={m}: should be whole numbers, 1 <= n <= m <= {MOST_WINDOWS}")
        super().__init__(n, m, warn=warn, alarm=alarm, clear=clear, **options)
