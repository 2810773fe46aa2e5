"""Drift in two kinds: of the input (microphone, gain, hall), and of what is normal (the machine ages).

Both are fed with numbers, window by window, and keep a state of plain numbers that a JSON file can hold.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from mimii_pl.scoring.usual_sound import InputFigures

HOUR = 3600.0  # s
LEAST_FIGURE_SPREAD = {
    "level": 1.0,
    "tilt": 0.5,
    "floor": 1.0,
}  # dB, dB per octave, dB: training clips may be very even
FEWEST_OF_AN_HOUR = 10  # of an hour that is judged


class InputDrift:
    """A warning that the input is no longer that of the training set: level, tilt or noise floor, hour by hour.

    A figure has drifted when the median of an hour lies more than `limit` standard deviations from the mean of the
    training windows; the warning ends when an hour is back within. It says nothing of the machine: see `NormalDrift`.

    Args:
        usual: figures of the training windows, at least two.
        limit: standard deviations.
        seconds: judged at a time.
    """

    def __init__(self, usual: Sequence[InputFigures], limit: float = 4.0, seconds: float = HOUR) -> None:
        values = np.array(usual, float).reshape(-1, len(InputFigures._fields))
        self.mean = dict(zip(InputFigures._fields, values.mean(axis=0).tolist(), strict=True))
        spread = dict(zip(InputFigures._fields, values.std(axis=0).tolist(), strict=True))
        self.spread = {name: max(spread[name], LEAST_FIGURE_SPREAD[name]) for name in InputFigures._fields}
        self.limit, self.seconds = limit, seconds
        self.began: float | None = None
        self.heard: list[list[float]] = []
        self.drifted: dict[str, float] = {}

    def hear(self, at: float, figures: InputFigures) -> list[str]:
        """Hear a window in which the machine runs.

        Args:
            at: unix time in s, never before that of the last window.

        Returns:
            Names of the figures whose drift begins with this window; `drifted` has all that drift now, each with its
            distance from the mean of the training windows in standard deviations, signed.
        """
        begun = self._judge() if self.began is not None and at - self.began >= self.seconds else []
        if self.began is None:
            self.began = at
        self.heard.append([float(figure) for figure in figures])
        return begun

    def _judge(self) -> list[str]:
        hour, self.heard, self.began = np.array(self.heard), [], None
        if len(hour) < FEWEST_OF_AN_HOUR:  # the machine stood still
            return []
        medians = dict(zip(InputFigures._fields, np.median(hour, axis=0).tolist(), strict=True))
        distance = {name: (medians[name] - self.mean[name]) / self.spread[name] for name in medians}
        before, self.drifted = self.drifted, {name: far for name, far in distance.items() if abs(far) > self.limit}
        return [name for name in self.drifted if name not in before]

    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows as plain numbers; `load_state_dict` restores it."""
        return dict(vars(self))

    @classmethod
    def load_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what `state_dict` returned."""
        drift = cls([InputFigures(0.0, 0.0, 0.0)])
        for name in vars(drift):
            setattr(drift, name, state[name])
        return drift


class PageHinkley:
    """Page-Hinkley test: has the mean of a sequence changed (Page, Biometrika 1954)?

    After a change it starts anew with the next value.

    Args:
        fewest: values before a change can be found.
        delta: change of the mean that is allowed.
        threshold: of the cumulated deviation from the running mean.
        alpha: share of the cumulated deviation that is kept from value to value.
        mode: `up`, `down` or `both`.
    """

    def __init__(
        self,
        *,
        fewest: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        alpha: float = 0.9999,
        mode: Literal["up", "down", "both"] = "both",
    ) -> None:
        self.fewest, self.delta, self.threshold, self.alpha = fewest, delta, threshold, alpha
        self.mode: Literal["up", "down", "both"] = mode
        self._start()

    def _start(self) -> None:
        self.count, self.mean = 0, 0.0
        self.up, self.lowest = 0.0, math.inf
        self.down, self.highest = 0.0, -1.0
        self.changed = False

    def update(self, value: float) -> bool:
        """Take the next value; return True if the mean has changed."""
        if self.changed:
            self._start()
        value = float(value)  # no scalar of numpy, which JSON cannot hold
        self.count += 1
        self.mean += (value - self.mean) / self.count
        deviation = value - self.mean
        self.up = self.alpha * self.up + deviation - self.delta
        self.down = self.alpha * self.down + deviation + self.delta
        self.lowest, self.highest = min(self.lowest, self.up), max(self.highest, self.down)
        rise, fall = self.up - self.lowest, self.highest - self.down
        rises, falls = rise > self.threshold, fall > self.threshold
        enough = self.count >= self.fewest
        self.changed = enough and ((rises and self.mode != "down") or (falls and self.mode != "up"))
        return self.changed

    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows as plain values, where `math.inf` is None; `load_state_dict` restores it."""
        return {name: None if value == math.inf else value for name, value in vars(self).items()}

    @classmethod
    def load_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what `state_dict` returned."""
        test = cls()
        for name in vars(test):
            setattr(test, name, math.inf if state[name] is None else state[name])
        return test


class NormalDrift:
    """A warning that normal sound is no longer as normal as it was: p-values of judged windows sink over days.

    The p-values of a machine as it was trained are spread evenly over 0 to 1, with a mean of about 1/2. Their mean
    over an hour is a value of a Page-Hinkley test for a fall. Windows in alarm must not be among them: an alarm is a
    fault, or becomes a mark, but no drift.

    Args:
        seconds: whose mean is a value of the test.
        **options: of `PageHinkley`.
    """

    def __init__(self, seconds: float = HOUR, **options: Any) -> None:
        self.test = PageHinkley(**{"fewest": 24, "delta": 0.05, "threshold": 1.5, "mode": "down", **options})
        self.seconds = seconds
        self.began: float | None = None
        self.total, self.windows = 0.0, 0

    def hear(self, at: float, p_value: float) -> bool:
        """Hear a judged window without an alarm; return True if the drift is found with it.

        Args:
            at: unix time in s, never before that of the last window.
            p_value: among held-out normal clips.
        """
        found = False
        if self.began is not None and at - self.began >= self.seconds:
            found = self.windows >= FEWEST_OF_AN_HOUR and self.test.update(self.total / self.windows)
            self.began, self.total, self.windows = None, 0.0, 0
        if self.began is None:
            self.began = at
        self.total += float(p_value)
        self.windows += 1
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows as plain values; `load_state_dict` restores it."""
        return {**vars(self), "test": self.test.state_dict()}

    @classmethod
    def load_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Restore what `state_dict` returned."""
        drift = cls()
        for name in vars(drift):
            setattr(drift, name, PageHinkley.load_state_dict(state[name]) if name == "test" else state[name])
        return drift
