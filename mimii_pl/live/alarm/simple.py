"""Levels on the p-value of the latest window."""

from typing import Any

from mimii_pl.live.alarm._counted import CountedRule


class Simple(CountedRule):
    """Raises a level as soon as a window has a p-value at or below its limit.

    One window has no p-value below 1 / (n + 1), n held-out clips: a promise of few false alarms takes a very large
    number of them, or an `on_delay`.

    Args:
        warn, alarm: limits as p-values; None: the highest one that keeps the promise.
        clear: clear limit as a multiple of the set limit.
        **options: of `AlarmRule`.
    """

    def __init__(
        self, *, warn: float | None = None, alarm: float | None = None, clear: float = 5.0, **options: Any
    ) -> None:
        super().__init__(1, 1, warn=warn, alarm=alarm, clear=clear, **options)
