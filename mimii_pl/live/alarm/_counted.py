"""Rules on how many of the latest windows have a low p-value."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
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
MANY_A_MONTH = 10  # whose fractions nobody asks for
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
        self._months = 1.0  # that were simulated

    @property
    def m(self) -> int:
        """Number of windows that are looked at."""
        return self.latest.maxlen or 1

    def choose_limits(self, normal: NormalScores, hop: float) -> str:
        simulation = Simulation(normal, hop, self.per_month[AlarmLevel.ALARM])
        self._months = simulation.months
        seen = [self._filtered(ranks) for ranks in simulation.streams()]

        def per_month(rank: int) -> float:
            return sum(self._raised(*stream, rank) for stream in seen) / simulation.months

        told = [self._choose(level, per_month) for level in RAISED]
        self.limits[AlarmLevel.WARN] = max(self.limits.values())
        broken = [name for name, (kept, _) in zip(PROMISES, told, strict=True) if not kept]
        if broken:
            log.warning(
                "%d held-out clips cannot keep %s with %s: their lowest p-value, %.3g, means %s a month. More "
                "held-out recordings can, or more windows (alarm=n_of_m alarm.n=...), or alarm=cusum",
                *(
                    self.held_out,
                    " and ".join(broken),
                    self._windows(),
                    1 / (self.held_out + 1),
                    self._often(per_month(1)),
                ),
            )
        return f"{self._windows()}: {', '.join(text for _, text in told)}; {self.held_out} held-out clips"

    def _choose(self, level: AlarmLevel, per_month: Callable[[int], float]) -> tuple[bool, str]:
        """Set the limit of a level.

        Args:
            per_month: false alarms a month by the rank that is the limit.

        Returns:
            Whether the held-out clips allow what is promised, and the limit in words.
        """
        name, given, promised = level.name.lower(), self.given[level], self.per_month[level]
        steps = self.held_out + 1
        if given is None:
            ranks = range(1, max(1, int(HIGHEST * steps)) + 1)
            rank = bisect_right(ranks, promised, key=per_month)
            self.limits[level] = max(rank, 1) / steps
        elif given * steps < 1 - ROUNDING:
            raise InputError(
                f"alarm.{name}={given:g}: {self.held_out} held-out clips give no p-value below {1 / steps:.2g}. Use "
                "more held-out recordings, a higher limit, or alarm=n_of_m"
            )
        else:
            rank = int(given * steps + ROUNDING)
            self.limits[level] = given
        told = f"{name} p <= {self.limits[level]:.3g} (false a month: {self._often(per_month(max(rank, 1)))})"
        return rank > 0, told

    def _often(self, per_month: float) -> str:
        """Spell false alarms a month; of none in the simulated months, what they can tell."""
        if not per_month:
            return f"below {1 / self._months:.1g}"
        return f"{per_month:,.0f}" if per_month >= MANY_A_MONTH else f"{per_month:.2g}"

    def _windows(self) -> str:
        delay = f" for {self.delay['on']} more" if self.delay["on"] else ""
        return f"{self.n} of {self.m} windows{delay}"

    def _filtered(self, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the n-th lowest of m ranks, and the highest of these within the on-delay, [windows] each."""
        nth = rank_filter(ranks, self.n - 1, size=self.m) if self.m > 1 else ranks
        more = self.delay["on"] + 1
        nth = nth.astype(np.int32)
        return nth, maximum_filter1d(nth, more, origin=(more - 1) // 2) if more > 1 else nth

    def _raised(self, nth: np.ndarray, lasting: np.ndarray, rank: int) -> int:
        """Count the times that a level is raised whose limit is this rank, with its hysteresis.

        Off-delay and least time are left out: they only join alarms.
        """
        steps = self.held_out + 1
        cleared = nth > max(rank, int(min(self.clear * rank, HIGHEST_CLEAR * steps) + ROUNDING))
        reached = lasting <= rank
        marks = reached[reached | cleared]  # windows between the limits change nothing
        return int(np.count_nonzero(marks[1:] & ~marks[:-1])) + int(marks[:1].any())

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
