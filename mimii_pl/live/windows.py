"""Types that pass between the parts of a monitor: blocks of sound, windows with their scores, levels of alarm."""

from enum import Enum, IntEnum
from typing import NamedTuple

import numpy as np


class Block(NamedTuple):
    """Sound as a source delivers it.

    Attributes:
        first: number of its first sample, counted since the source was first opened; samples that were lost count.
        samples: int16 [C, T].
        at: unix time of its first sample in s; for display, the count is the clock.
    """

    first: int
    samples: np.ndarray
    at: float


class WindowState(Enum):
    """State of a window, and of the machine while it lasts: only `RUNNING` ones are judged."""

    RUNNING = "running"
    IDLE = "idle"  # the machine stands still
    SILENT = "silent"  # digital silence: a cable, not a machine
    CLIPPED = "clipped"
    GAP = "gap"  # samples were lost
    UNFAMILIAR = "unfamiliar"  # the input is not that of the training set
    NO_SIGNAL = "no_signal"  # the source delivers nothing


class ScoredWindow(NamedTuple):
    """A window of sound and its score.

    Attributes:
        first: number of its first sample, as in `Block`.
        end: number of the sample after its last.
        at: unix time of its first sample in s.
        state: whether it was judged, and if not, why.
        score: anomaly score, higher is more anomalous; NaN if it was not judged.
        p_value: (1 + held-out normal clips with no lower score) / (1 + their number); NaN if it was not judged.
        level: of the sound, in dB of full scale.
        low_hertz: lower edge of the band that is furthest above its usual level; NaN if there is none.
        high_hertz: upper edge of that band.
    """

    first: int
    end: int
    at: float
    state: WindowState
    score: float
    p_value: float
    level: float
    low_hertz: float
    high_hertz: float


class AlarmLevel(IntEnum):
    """Height of an alarm."""

    NORMAL = 0
    WARN = 1
    ALARM = 2


class AlarmChange(NamedTuple):
    """A rule's level has changed.

    Attributes:
        window: that changed it.
        first: number of the first sample of the windows that made it change.
        level: from now on.
        reason: what the rule saw, in words.
    """

    window: ScoredWindow
    first: int
    level: AlarmLevel
    reason: str
