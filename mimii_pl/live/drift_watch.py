"""Watch a machine for drift of its input and of what is normal, across restarts."""

from typing import Any

import numpy as np

from mimii_pl.core.errors import damaged
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.live.drift import InputDrift, NormalDrift
from mimii_pl.live.events import EventStore
from mimii_pl.live.windows import AlarmLevel, ScoredWindow, WindowState
from mimii_pl.scoring.usual_sound import InputFigures

MEASURED_EVERY = 60.0  # s between windows whose figures are measured: an hour needs no more
FEWEST_INPUTS = 2  # training clips whose figures have a spread
FIGURE_UNITS = {"level": "dB", "tilt": "dB per octave", "floor": "dB"}
FIGURE_NAMES = {"level": "level", "tilt": "tilt of the spectrum", "floor": "noise floor"}


class DriftWatch:
    """Hears the windows of a machine, and tells when an hour is unlike those of the training set.

    Its state is stored with the consequences of the windows (see `AlarmKeeper.hear`), and goes on after a restart.

    Args:
        store: that holds the state.
        machine, machine_id: its names.
        usual: figures of training clips; fewer than two: drift of the input is not told.
    """

    def __init__(self, store: EventStore, machine: str, machine_id: str, usual: list[InputFigures]) -> None:
        self.name = f"drift/{len(machine)}/{machine}/{machine_id}"
        self.input = InputDrift(usual) if len(usual) >= FEWEST_INPUTS else None
        self.normal, self._measured = NormalDrift(), -np.inf
        if state := store.state(self.name):
            with damaged(store.folder / "events.db"):
                self.normal = NormalDrift.load_state_dict(state["normal"])
                if self.input and state["input"] and state["input"]["mean"] == self.input.mean:  # of the same model
                    self.input = InputDrift.load_state_dict(state["input"])

    def hear(self, window: ScoredWindow, clips: np.ndarray, rate: int, level: AlarmLevel) -> list[str]:
        """Hear a window; return what has drifted with it, in words.

        Args:
            clips: int16 [C, samples] as the detector heard them.
            rate: of these in Hz.
            level: of the alarm before this window.
        """
        if window.state is not WindowState.RUNNING:
            return []
        lines = []
        if self.input and len(clips) and window.at - self._measured >= MEASURED_EVERY:
            self._measured = window.at
            figures = InputFigures.of(clips.mean(axis=0) / FULL_SCALE, rate)
            for name in self.input.hear(window.at, figures):
                change = f"{self.input.drifted[name] * self.input.spread[name]:+.1f} {FIGURE_UNITS[name]}"
                lines.append(
                    f"the input drifts: for an hour, the {FIGURE_NAMES[name]} has been {change} from that of the "
                    "training clips: was the microphone moved, or its gain changed?"
                )
        if level == AlarmLevel.NORMAL and self.normal.hear(window.at, window.p_value):
            lines.append(
                "normal sound drifts: its p-values have sunk over hours without an alarm: if the machine is healthy, "
                "`mimii update` teaches the model its new sound"
            )
        return lines

    def state(self) -> dict[str, Any]:
        """Return what is stored, by name."""
        return {self.name: {"normal": self.normal.state_dict(), "input": self.input and self.input.state_dict()}}
