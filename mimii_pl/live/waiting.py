"""Windows between the thread that hears and the one that scores."""

import math
import time

import numpy as np

from mimii_pl.live.cutter import CutWindow
from mimii_pl.live.model import LiveModel
from mimii_pl.live.states import SoundState
from mimii_pl.live.windows import WindowState
from mimii_pl.scoring.usual_sound import SoundLevels

UNKNOWN_LEVELS = SoundLevels(math.nan, np.empty(0))
NO_CLIPS = np.empty((0, 0), np.int16)


class WaitingWindow:
    """A window of a station that waits for its turn; without a window, the position that the source has reached.

    Args:
        window: of the source; None: a recording has ended.
        found: its state.
        clips: int16 [C, samples] as the detector hears them.
        model: that they were made for.
        rate: of the source in Hz.
        position: number of the sample to go on with, once the window is finished.

    Attributes:
        score: NaN until it is set.
        came: monotonic time in s.
    """

    def __init__(
        self, window: CutWindow | None, found: SoundState, clips: np.ndarray, model: LiveModel, rate: int, position: int
    ) -> None:
        self.window, self.found, self.clips, self.position = window, found, clips, position
        self.model, self.rate = model, rate
        self.score, self.came = math.nan, time.monotonic()

    @property
    def judged(self) -> bool:
        """True if it is to be scored."""
        return self.found.state is WindowState.RUNNING and self.window is not None

    def set(self, number: int, score: float) -> None:
        """Take the score."""
        self.score = score
