"""The base of the rules: levels with hysteresis, delays and a latch, on what a rule sees in each window."""

import logging
import math
from typing import Any, NamedTuple, Self

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm._normal import NormalScores
from mimii_pl.live.windows import AlarmChange, AlarmLevel, ScoredWindow, WindowState

LEAST_PER_MONTH = 1e-3  # false alarms that a promise may allow: what is rarer no simulation of held-out clips shows
LONGEST_DELAY = 7 * 86_400  # s
RAISED = (AlarmLevel.WARN, AlarmLevel.ALARM)
log = logging.getLogger(__name__)


class Evidence(NamedTuple):
    """Sign of a fault in the latest windows.

    Attributes:
        reached: highest level whose set limit is reached.
        kept: highest level whose clear limit is not yet left; at least `reached`.
        first: number of the first sample of the windows it rests on.
        reason: in words.
    """

    reached: AlarmLevel
    kept: AlarmLevel
    first: int
    reason: str


class AlarmRule:
    """Base of the rules. A subclass implements `choose_limits`, `observe`, and `memory` and `recall` of what it holds.

    Windows that are not `RUNNING`, or whose p-value is NaN, are no evidence: while they last, levels, counts and
    delays stand still. Delays therefore count windows that were judged, `ceil(seconds / hop)` of them.

    Args:
        false_per_month: false alarms to expect of a healthy machine in 30 days that it runs.
        warn_per_month: false warnings likewise.
        on_delay: s that a level must stay reached before it is raised.
        off_delay: s that a level must stay cleared before it is left.
        min_time: s that a raised level lasts at least.
        latch: an alarm lasts until it is acknowledged.

    Attributes:
        level: the present one.
        promise: what the rule promises and what it cannot, in one line; empty before `fit`.
    """

    def __init__(
        self,
        *,
        false_per_month: float = 1.0,
        warn_per_month: float = 30.0,
        on_delay: float = 0.0,
        off_delay: float = 0.0,
        min_time: float = 0.0,
        latch: bool = False,
    ) -> None:
        for name, value in (("false_per_month", false_per_month), ("warn_per_month", warn_per_month)):
            if not LEAST_PER_MONTH <= value < math.inf:
                raise InputError(
                    f"alarm.{name}={value}: should be {LEAST_PER_MONTH:g} (once in 80 years) or more, such as 1: less "
                    "cannot be told from recordings"
                )
        for name, value in (("on_delay", on_delay), ("off_delay", off_delay), ("min_time", min_time)):
            if not 0 <= value <= LONGEST_DELAY:
                raise InputError(f"alarm.{name}={value}: should be a time in s, from 0 to {LONGEST_DELAY:,} (a week)")
        if type(latch) is not bool:
            raise InputError(f"alarm.latch={latch}: should be true or false")
        if warn_per_month < false_per_month:
            raise InputError(
                f"alarm.warn_per_month={warn_per_month:g}: should be at least alarm.false_per_month={false_per_month:g}"
            )
        self.per_month = {AlarmLevel.WARN: warn_per_month, AlarmLevel.ALARM: false_per_month}
        self.seconds = {"on": on_delay, "off": off_delay, "least": min_time}
        self.latch, self.promise = latch, ""
        self.delay: dict[str, int] = {}  # in windows
        self.level = self._kept = AlarmLevel.NORMAL
        self._rising, self._first = dict.fromkeys(RAISED, 0), dict.fromkeys(RAISED, 0)
        self._falling = self._cleared = self._lasted = self._newest = 0
        self._acknowledged = False

    def fit(self, normal: NormalScores, hop: float) -> Self:
        """Choose limits that keep the promise, and tell what cannot be promised.

        Args:
            normal: held-out normal scores, those that p-values of the windows come from.
            hop: from the start of a window to that of the next in s.
        """
        self.held_out = len(normal.scores)
        self.delay = {name: math.ceil(round(seconds / hop, 6)) for name, seconds in self.seconds.items()}
        self.promise = self.choose_limits(normal, hop)
        log.info("%s", self.promise)
        return self

    def hear(self, window: ScoredWindow) -> AlarmChange | None:
        """Take the next window; return the change of level that it causes, if any."""
        if window.state is not WindowState.RUNNING or math.isnan(window.p_value):
            return None
        if window.first < self._newest:
            self._renumber(window.first)
        self._newest = window.first
        seen = self.observe(window)
        self._count(seen, window)
        level, first = self._next_level(window)
        if level == self.level:
            return None
        if level > self.level:
            self._acknowledged = False
        self.level = level
        self._lasted = self._falling = 0
        self._kept = AlarmLevel.NORMAL
        return AlarmChange(window, first, level, seen.reason)

    def acknowledge(self) -> bool:
        """Let a latched alarm go, as soon as its cause has; return False if that was known."""
        known, self._acknowledged = self._acknowledged, True
        return not known

    def _count(self, seen: Evidence, window: ScoredWindow) -> None:
        """Count the windows in a row for which each level is reached, and for which the present one is cleared."""
        self._lasted += 1
        for level in RAISED:
            if seen.reached < level:
                self._rising[level] = 0
                continue
            if not self._rising[level]:
                self._first[level] = seen.first
            self._rising[level] += 1
        if seen.kept >= self.level:
            self._falling, self._kept = 0, AlarmLevel.NORMAL
            return
        if not self._falling:
            self._cleared = window.first
        self._falling += 1
        self._kept = max(self._kept, seen.kept)

    def _renumber(self, first: int) -> None:
        """Take all that is remembered as of this sample, where the source counts anew."""
        self._first, self._cleared = dict.fromkeys(RAISED, first), first
        self.recall([[first, value] for _, value in self.memory()])

    def _next_level(self, window: ScoredWindow) -> tuple[AlarmLevel, int]:
        for level in reversed(RAISED):
            if level > self.level and self._rising[level] > self.delay["on"]:
                return level, self._first[level]
        latched = self.latch and self.level == AlarmLevel.ALARM and not self._acknowledged
        if self._falling > self.delay["off"] and self._lasted > self.delay["least"] and not latched:
            return self._kept, self._cleared
        return self.level, window.first

    # --- stored between restarts -------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return what the rule has counted, for a JSON file."""
        return {
            "rule": self._described(),
            "level": int(self.level),
            "rising": [self._rising[level] for level in RAISED],
            "first": [self._first[level] for level in RAISED],
            "falling": [self._falling, self._cleared, int(self._kept)],
            "lasted": self._lasted,
            "newest": self._newest,
            "acknowledged": self._acknowledged,
            "memory": self.memory(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on from a state; one of a rule with other options or limits is left alone, and False returned."""
        if state.get("rule") != self._described():
            return False
        self.level = AlarmLevel(state["level"])
        self._rising = dict(zip(RAISED, map(int, state["rising"]), strict=True))
        self._first = dict(zip(RAISED, map(int, state["first"]), strict=True))
        self._falling, self._cleared, kept = map(int, state["falling"])
        self._kept = AlarmLevel(kept)
        self._lasted, self._newest = int(state["lasted"]), int(state["newest"])
        self._acknowledged = bool(state["acknowledged"])
        self.recall(state["memory"])
        return True

    def _described(self) -> str:
        return f"{type(self).__name__} {self.promise} {self.delay} {self.latch}"

    # --- of each rule ------------------------------------------------------------------------------------------------
    def choose_limits(self, normal: NormalScores, hop: float) -> str:
        """Choose the limits, and describe them and what they promise in one line."""
        raise NotImplementedError

    def observe(self, window: ScoredWindow) -> Evidence:
        """Take the next window that was judged."""
        raise NotImplementedError

    def memory(self) -> list[list[float]]:
        """Return what the rule holds of past windows: pairs of the number of a first sample, and a value."""
        raise NotImplementedError

    def recall(self, memory: list[list[float]]) -> None:
        """Restore what `memory` returned."""
        raise NotImplementedError
