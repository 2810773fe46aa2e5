"""A cumulative sum of p-values, for small and slow changes."""

import math
from typing import Any

import numpy as np
from scipy.special import ndtri

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm._normal import NormalScores
from mimii_pl.live.alarm._rule import RAISED, AlarmRule, Evidence
from mimii_pl.live.alarm._simulation import Simulation
from mimii_pl.live.windows import AlarmLevel, ScoredWindow

HIGHEST_SUM = 2.0  # times the limit of an alarm, so that it ends in time
EXCURSIONS = 100  # highest excursions that the limit rests on


class Cusum(AlarmRule):
    """One-sided CUSUM (Page, Biometrika 1954) of z, the normal quantile of 1 - p: C <- max(0, C + z - drift).

    A level is raised at its limit, and left below `clear` times the limit. The limits keep the promise in simulated
    months (`Simulation`), beyond which the tail is taken as exponential.

    Args:
        drift: that healthy windows lose, in standard deviations: half the shift to find soonest.
        clear: clear limit as a share of the set limit.
        **options: of `AlarmRule`.
    """

    def __init__(self, *, drift: float = 0.5, clear: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < drift < math.inf:
            raise InputError(f"alarm.drift={drift:g}: should be above 0 standard deviations, such as 0.5")
        if not 0 <= clear <= 1:
            raise InputError(f"alarm.clear={clear:g}: should be a share of the limit from 0 to 1")
        self.drift, self.clear = drift, clear
        self.limits = dict.fromkeys(RAISED, 0.0)
        self.sum, self.rose = 0.0, 0  # C, and the first sample since it was 0

    def choose_limits(self, normal: NormalScores, hop: float) -> str:
        simulation = Simulation(normal, hop, self.per_month[AlarmLevel.ALARM])
        highest = np.sort(self._excursions(simulation))[::-1]
        for level in RAISED:
            self.limits[level] = limit_of(highest, self.per_month[level] * simulation.months)
        told = ", ".join(
            f"{level.name.lower()} {self.limits[level]:.3g} (false a month: {self.per_month[level]:g})"
            for level in RAISED
        )
        order = "" if normal.ordered else ", whose order is not known: they are taken as independent"
        return f"CUSUM with drift {self.drift:g}, limits {told}; {self.held_out} held-out clips{order}"

    def _excursions(self, simulation: Simulation) -> np.ndarray:
        """Return the highest value of each excursion of C from 0 in simulated months."""
        steps = np.append(0.0, self._z(np.arange(1, self.held_out + 2) / (self.held_out + 1))) - self.drift
        found = []
        for ranks in simulation.streams():
            sums = np.cumsum(steps[ranks])
            height = sums - np.minimum(np.minimum.accumulate(sums), 0)
            peaks = np.maximum.reduceat(height, np.append(0, np.flatnonzero(height == 0)))
            found.append(peaks[peaks > 0])
        return np.concatenate(found)

    def _z(self, p_values: np.ndarray) -> np.ndarray:
        """Return normal quantiles of p-values, in the middle of their steps."""
        return -ndtri(np.clip(p_values - 0.5 / (self.held_out + 1), 1e-12, 1 - 1e-12))

    def observe(self, window: ScoredWindow) -> Evidence:
        if not self.sum:
            self.rose = window.first
        rise = float(self._z(np.array(window.p_value))) - self.drift
        self.sum = min(max(0.0, self.sum + rise), HIGHEST_SUM * self.limits[AlarmLevel.ALARM])
        reached, kept = self._level(1.0), self._level(self.clear)
        return Evidence(
            reached, kept, self.rose, f"CUSUM {self.sum:.3g}, limit {self.limits[reached or AlarmLevel.WARN]:.3g}"
        )

    def _level(self, share: float) -> AlarmLevel:
        levels = [level for level in RAISED if self.sum > 0 and self.sum >= share * self.limits[level]]
        return max(levels, default=AlarmLevel.NORMAL)

    def memory(self) -> list[list[float]]:
        return [[self.rose, self.sum]]

    def recall(self, memory: list[list[float]]) -> None:
        ((rose, self.sum),) = memory
        self.rose = int(rose)


def limit_of(highest: np.ndarray, allowed: float) -> float:
    """Return the limit that excursions exceed `allowed` times, a number that need not be whole.

    Args:
        highest: highest values of excursions, the highest first.
    """
    if allowed >= EXCURSIONS:
        return float(highest[min(len(highest) - 1, int(allowed))])
    tail = highest[: EXCURSIONS + 1]
    scale = float(np.mean(tail[:-1] - tail[-1]))  # of an exponential tail
    return float(tail[-1] + scale * math.log((len(tail) - 1) / allowed))
