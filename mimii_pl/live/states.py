"""State of a window before it is scored: what the sound tells of the machine, the microphone and the cable."""

import math
from typing import NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.live.windows import WindowState
from mimii_pl.quality.runs import RunCounter
from mimii_pl.scoring.usual_sound import SoundLevels, UsualSound, sound_levels

SILENT_STEPS = 2  # of 16 bits, peak to peak: a cable without a microphone has as much
FLAT_TOP = 3  # samples at full scale in a row
CLIPPED_SHARE = 0.01  # of samples in flat tops: a knock has fewer
IDLE_BELOW = 10.0  # dB below the quietest training clip
SAME_SHAPE = 3.0  # dB RMS over the bands, their means left out
FAR_BEYOND = 10.0  # dB of a band beyond all training clips
MUFFLED_SHARE = 0.25  # of the bands that have fallen so far: a fault adds sound, a microphone takes it away
SLOWER = 0.99  # of the rate that the model learned from
STATE_RULES = ("auto", "none", "level")


def check_state_rule(rule: str, idle_level: float | None) -> None:
    """Raise InputError if there is no such rule, or it lacks its level."""
    if rule not in STATE_RULES:
        raise InputError(f"state={rule}: should be {', '.join(STATE_RULES[:-1])} or {STATE_RULES[-1]}")
    if rule == "level" and idle_level is None:
        raise InputError("state=level needs idle_level=<dB of full scale below which it stands still>, such as -60")
    if idle_level is not None and not math.isfinite(idle_level):
        raise InputError(f"idle_level={idle_level}: should be a level in dB of full scale, such as -60")
    if rule != "level" and idle_level is not None:
        raise InputError(f"idle_level={idle_level:g}: give it with state=level")


class SoundState(NamedTuple):
    """State of a window.

    Attributes:
        state: `RUNNING`, or why it is not judged.
        levels: of the sound.
        reason: in words; empty while the machine runs.
    """

    state: WindowState
    levels: SoundLevels
    reason: str = ""


class StateJudge:
    """Tells the state of windows.

    A machine stands still in a window that is `IDLE_BELOW` dB quieter than its quietest training clip (`auto`), unless
    the spectrum has the shape of the machine's: then the microphone hears less than that of the training set. The input
    is unfamiliar too if many bands have fallen far below every training clip, or if the sound is far louder than each
    and has the shape of the machine's. A fault adds sound, and changes the shape: it is judged, however loud.

    Args:
        rule: how idle windows are told: `auto`, `level`, or `none`: they are not.
        idle_level: dB of full scale below which the machine stands still, for `level`.
        usual: levels of the training clips; None: unknown, and `auto` tells nothing.
        rate, sample_rate: of the source and of the model in Hz.

    Raises:
        InputError: as `check_state_rule`.
    """

    def __init__(
        self, rule: str, idle_level: float | None, usual: UsualSound | None, *, rate: int, sample_rate: int
    ) -> None:
        check_state_rule(rule, idle_level)
        self.usual, self.rate, self.sample_rate = usual, rate, sample_rate
        self.idle_level = idle_level
        if rule == "auto" and usual is not None:
            self.idle_level = usual.level[0] - IDLE_BELOW
        self.rule = rule

    def judge(self, wave: np.ndarray, clips: np.ndarray) -> SoundState:
        """Tell the state of a window.

        Args:
            wave: int16 [C, T] as the source delivered it.
            clips: int16 [C, samples] as the detector hears it; C may be smaller, without silent channels, or 0.
        """
        if not len(clips) or int(wave.max()) - int(wave.min()) <= SILENT_STEPS:
            return SoundState(WindowState.SILENT, _silence(self.sample_rate), "digital silence: is the microphone on?")
        found = [sound_levels(clip, self.sample_rate) for clip in clips]
        levels = SoundLevels(
            float(np.mean([one.level for one in found])), np.mean([one.bands for one in found], axis=0)
        )
        if (share := max(map(flat_tops, wave))) > CLIPPED_SHARE:
            told = f"{100 * share:.0f} % of the samples are at full scale: turn the gain down"
            return SoundState(WindowState.CLIPPED, levels, told)
        if self.idle_level is not None and levels.level < self.idle_level:
            return self._quiet(levels, self.idle_level)
        if reason := self._unfamiliar(levels):
            return SoundState(WindowState.UNFAMILIAR, levels, reason)
        return SoundState(WindowState.RUNNING, levels)

    def _quiet(self, levels: SoundLevels, limit: float) -> SoundState:
        if self.rule == "auto" and self._has_usual_shape(levels):
            told = f"the machine's sound at {levels.level:.0f} dB, far below its training clips: is the gain lower?"
            return SoundState(WindowState.UNFAMILIAR, levels, told)
        return SoundState(WindowState.IDLE, levels, f"{levels.level:.0f} dB, below {limit:.0f} dB")

    def _unfamiliar(self, levels: SoundLevels) -> str:
        if self.rate < SLOWER * self.sample_rate:
            return f"the source has {self.rate} Hz, and the model learned from {self.sample_rate} Hz"
        if self.usual is None:
            return ""
        count = len(levels.bands)
        fallen = int((levels.bands < self.usual.bands[0] - FAR_BEYOND).sum())
        if fallen > MUFFLED_SHARE * count:
            return (
                f"{fallen} of {count} bands lie {FAR_BEYOND:g} dB below every training clip: is it another microphone?"
            )
        if levels.level > self.usual.level[2] + FAR_BEYOND and self._has_usual_shape(levels):
            return f"the machine's sound at {levels.level:.0f} dB, far above its training clips: is the gain higher?"
        return ""

    def _has_usual_shape(self, levels: SoundLevels) -> bool:
        return self.usual is not None and float(np.std(levels.bands - self.usual.bands[1])) < SAME_SHAPE


def flat_tops(wave: np.ndarray) -> float:
    """Return the share of samples int16 [T] in runs of `FLAT_TOP` or more at full scale.

    >>> flat_tops(np.array([0, 32767, 32767, 32767, 0, -32768, 0, 0], np.int16))
    0.375
    """
    runs = RunCounter(FLAT_TOP)
    limits = np.iinfo(np.int16)
    runs.add((wave == limits.max) | (wave == limits.min))
    runs.close()
    return runs.samples / max(1, len(wave))


def _silence(rate: int) -> SoundLevels:
    return sound_levels(np.zeros(rate, np.int16), rate)
