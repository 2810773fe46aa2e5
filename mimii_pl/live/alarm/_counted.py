"""Rules on how many of the latest windows have a low p-value."""

import logging
from collections import deque
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter1d, rank_filter

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm._normal import NormalScores
from mimii_pl.live.alarm._rule import RAISED, AlarmRule, Evidence
from mimii_pl.live.alarm._simulation import Simulation
from mimii_pl.live.windows import AlarmLevel, ScoredWindow

HIGHEST = 0.2  # p-value that a limit may have
HIGHEST_CLEAR = 0.9  # clear limit, which a machine must be able to leave
ROUNDING = 1e-9  # of p-values and limits, which are fractions of n + 1
PROMISES = ("alarm.warn_per_month", "alarm.false_per_month")
log = logging.getLogger(__name__)


class CountedRule(AlarmRule):
    """Raises a level when n of the latest m windows have a p-value at or below its limit.

    It is kept as long as n of m have one at or below `clear` times the limit.

    Args:
        n, m: windows.
        warn, alarm: limits as p-values; None: the highest one that keeps the promise.
        clear: clear limit as a multiple of the set limit.
        **options: of `AlarmRule`.
    """

    def __init__(
        self, n: int, m: int, *, warn: float | None, alarm: float | None, clear: float, **options: Any
    ) -> None:
        super().__init__(**options)
        for name, given in (("warn", warn), ("alarm", alarm)):
            if given is not None and not 0 < given < 1:
                raise InputError(f"alarm.{name}={given}: should be a p-value between 0 and 1, or null")
        if warn is not None and alarm is not None and warn < alarm:
            raise InputError(f"alarm.warn={warn:g}: should be at least alarm.alarm={alarm:g}, or null")
        if not clear >= 1:
            raise InputError(f"alarm.clear={clear:g}: should be 1 (no hysteresis) or more")
        self.n, self.given, self.clear = n, {AlarmLevel.WARN: warn, AlarmLevel.ALARM: alarm}, clear
        self.latest: deque[tuple[int, float]] = deque(maxlen=m)
        self.limits = dict.fromkeys(RAISED, 0.0)

    @property
    def m(self) -> int:
        """Number of windows that are looked at."""
        return self.latest.maxlen or 1

    def choose_limits(self, normal: NormalScores, hop: float) -> str:
        rates = self._rates(Simulation(normal, hop, self.per_month[AlarmLevel.ALARM]))
        told = [self._choose(level, rates) for level in RAISED]
        self.limits[AlarmLevel.WARN] = max(self.limits.values())
        lowest = 1 / (self.held_out + 1)
        broken = [name for name, (level, _) in zip(PROMISES, told, strict=True) if not level]
        if broken:
            log.warning(
                "%d held-out clips cannot keep %s with %s: their lowest p-value, %.3g, means %.3g a month. More "
                "held-out recordings can, or more windows (alarm=n_of_m alarm.n=...), or alarm=cusum",
                *(self.held_out, " and ".join(broken), self._windows(), lowest, rates[0]),
            )
        return f"{self._windows()}: {', '.join(text for _, text in told)}; {self.held_out} held-out clips"

    def _choose(self, level: AlarmLevel, rates: np.ndarray) -> tuple[bool, str]:
        """Set the limit of a level.

        Args:
            rates: false alarms a month [ranks] by the rank that is the limit, from 1 on.

        Returns:
            Whether the held-out clips allow what is promised, and the limit in words.
        """
        name, given, promised = level.name.lower(), self.given[level], self.per_month[level]
        steps = self.held_out + 1
        if given is None:
            over = np.flatnonzero(rates > promised)
            rank = int(over[0]) if len(over) else len(rates)
            self.limits[level] = max(rank, 1) / steps
        elif given * steps < 1 - ROUNDING:
            raise InputError(
                f"alarm.{name}={given:g}: {self.held_out} held-out clips give no p-value below {1 / steps:.2g}. Use "
                "more held-out recordings, a higher limit, or alarm=n_of_m"
            )
        else:
            rank = int(given * steps + ROUNDING)
            self.limits[level] = given
        expected = rates[min(max(rank, 1), len(rates)) - 1]
        told = f"{expected:.2g}" if expected else f"under {rates[rates > 0].min(initial=promised):.2g}"
        return rank > 0, f"{name} p <= {self.limits[level]:.3g} (false a month: {told})"

    def _windows(self) -> str:
        delay = f" for {self.delay['on']} more" if self.delay["on"] else ""
        return f"{self.n} of {self.m} windows{delay}"

    def _rates(self, simulation: Simulation) -> np.ndarray:
        """Count the times a month that each limit is newly reached, [ranks] from 1 on.

        Hysteresis joins some of them into one alarm: the rates are upper ones.
        """
        highest = max(1, int(HIGHEST * (self.held_out + 1)))
        newly = np.zeros(highest + 2)
        more = self.delay["on"] + 1
        for ranks in simulation.streams():
            ranks = np.minimum(ranks, highest + 1)
            nth = rank_filter(ranks, self.n - 1, size=self.m) if self.m > 1 else ranks
            lasting = maximum_filter1d(nth, more) if more > 1 else nth
            before, now = lasting[:-1], lasting[1:]
            lower = now < before
            newly += np.bincount(now[lower], minlength=len(newly)) - np.bincount(before[lower], minlength=len(newly))
        return np.cumsum(newly)[1:-1] / simulation.months

    def observe(self, window: ScoredWindow) -> Evidence:
        self.latest.append((window.first, window.p_value))
        reached = self._level(1.0)
        kept = max(reached, self._level(self.clear))
        limit = self.limits[reached or kept or AlarmLevel.WARN]
        low = [(first, p) for first, p in self.latest if p <= limit + ROUNDING]
        first = low[0][0] if low else window.first
        word = f"p at or below {limit:.3g} in {len(low)} of {len(self.latest)} windows"
        return Evidence(reached, kept, first, f"{word}, lowest {min(p for _, p in self.latest):.3g}")

    def _level(self, factor: float) -> AlarmLevel:
        """Return the highest level whose limit, times a factor, n of the latest windows are at or below."""
        for level in reversed(RAISED):
            limit = max(self.limits[level], min(factor * self.limits[level], HIGHEST_CLEAR))
            if sum(p <= limit + ROUNDING for _, p in self.latest) >= self.n:
                return level
        return AlarmLevel.NORMAL

    def memory(self) -> list[list[float]]:
        return [[first, p] for first, p in self.latest]

    def recall(self, memory: list[list[float]]) -> None:
        self.latest.clear()
        self.latest.extend((int(first), float(p)) for first, p in memory)
