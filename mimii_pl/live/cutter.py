"""Blocks of a source -> windows of the detector's length, on the grid on which a recording of it would be scored."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from mimii_pl.dataset._audio import SHORTEST_CUT, one_channel, ratio_of, with_margin
from mimii_pl.live.ring import SoundRing
from mimii_pl.live.windows import Block


class CutWindow(NamedTuple):
    """A window, before it is scored.

    Attributes:
        first, end: numbers of its first sample, and of the sample after its last.
        at: unix time of its first sample in s.
        wave: int16 [C, T] at the rate of the source, with the margin that resampling needs; None: samples were lost.
        following: number of the sample that the next window begins with.
    """

    first: int
    end: int
    at: float
    wave: np.ndarray | None
    following: int


class WindowCutter:
    """Cuts the sound of a source into windows.

    A window that would contain a sample that was lost has no sound, and the grid of windows begins anew behind the gap.

    Args:
        rate, channels: of the source.
        channel: that the detector hears: its number, `mean`, or `all`.
        sample_rate, samples: of the detector: rate in Hz, and samples of a window.
        hop: s from the start of a window to that of the next.
        held: s of sound that are kept, besides the window in the making.

    Attributes:
        ring: the sound that is kept.
        lost: samples that were lost.
        gaps: times that some were.
        end: number of the sample after the last that was heard; None: none was.
    """

    def __init__(
        self, *, rate: int, channels: int, channel: int | str, sample_rate: int, samples: int, hop: float, held: float
    ) -> None:
        self.rate, self.channel = rate, channel
        self.ratio: Fraction = ratio_of(rate, sample_rate)
        self.frames = math.ceil(samples * self.ratio)
        self.needed = self.frames if self.ratio == 1 else with_margin(self.frames, self.ratio)
        self.hop = max(1, round(hop * sample_rate)) * self.ratio  # samples of the source
        self.ring = SoundRing(channels if channel == "all" else 1, self.needed + math.ceil(held * rate))
        self.lost, self.gaps = 0, 0
        self.end: int | None = None
        self._origin, self._number, self._at = 0, 0, 0.0  # of the grid; windows since; unix time of sample 0

    def go_on(self, end: int) -> None:
        """Let windows begin with a sample: an earlier process has heard those before, which may be heard again."""
        self.end = self._origin = end

    def add(self, block: Block) -> Iterator[CutWindow]:
        """Take a block, and yield the windows that it ends: complete, or with a gap."""
        first, samples = block.first, self._chosen(block.samples)
        self._at = block.at - block.first / self.rate
        if self.end is None:
            self._begin(first)
        elif first > self.end:
            self.lost, self.gaps = self.lost + first - self.end, self.gaps + 1
            while (start := self._start()) < self.end:
                self._number += 1
                following = self._start() if self._start() < self.end else first
                yield CutWindow(start, start + self.frames, self.time(start), None, following)
            self._begin(first)
        elif first < self.end:  # of before a restart, or a source that repeats itself
            if self.ring.end <= first or self.ring.begin == self.ring.end:
                self.ring.add(first, samples[:, : self.end - first])
            samples, first = samples[:, self.end - first :], self.end
        step = self.ring.size - self.needed  # more would overwrite the beginning of the window in the making
        for at in range(0, samples.shape[1], step):
            part = samples[:, at : at + step]
            self.ring.add(first + at, part)
            self.end = first + at + part.shape[1]
            yield from self._complete(self.needed)

    def finish(self) -> Iterator[CutWindow]:
        """Yield the last windows of a recording that has ended: as `mimii score` divides it, to its last sample."""
        if self.end is None or self.end == self._origin:
            self.end = None
            return
        yield from self._complete(self.frames)
        last = self._origin + round((self._number - 1) * self.hop) + self.frames
        if not self._number or self.end - last > SHORTEST_CUT * self.rate:
            yield self._window(max(self._origin, self.end - self.frames), self.end, self.end)
        self.end = None

    def _begin(self, first: int) -> None:
        self._origin, self._number, self.end = first, 0, first

    def _start(self) -> int:
        return self._origin + round(self._number * self.hop)

    def time(self, number: int) -> float:
        """Return the unix time of a sample in s."""
        return self._at + number / self.rate

    def _complete(self, needed: int) -> Iterator[CutWindow]:
        assert self.end is not None
        while (start := self._start()) + needed <= self.end:
            self._number += 1
            yield self._window(start, start + self.frames, self._start())

    def _window(self, first: int, end: int, following: int) -> CutWindow:
        _, wave = self.ring.read(first, first + self.needed)
        return CutWindow(first, end, self.time(first), wave, following)

    def _chosen(self, samples: np.ndarray) -> np.ndarray:
        return samples if self.channel == "all" else one_channel(samples.T, self.channel)[None]
