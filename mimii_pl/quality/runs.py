"""Runs of consecutive samples that have a property, counted block by block."""

import numpy as np


class RunCounter:
    """Count runs of at least `least` samples for which a condition holds; one may continue in the next block.

    Attributes:
        count: runs.
        samples: samples in them.
        longest: samples in the longest, which begins with sample `at`.

    Args:
        least: samples that make a run.
        position: number of the first sample that comes.

    >>> runs = RunCounter(2)
    >>> for block in ([1, 1, 0, 1], [1, 1, 0, 1]):
    ...     runs.add(np.array(block, bool))
    >>> runs.close()
    >>> runs.count, runs.samples, runs.longest, runs.at
    (2, 5, 3, 3)
    """

    def __init__(self, least: int, position: int = 0) -> None:
        self.least, self.position = least, position
        self.count, self.samples, self.longest, self.at = 0, 0, 0, 0
        self._open = 0  # samples of the run at the end of what came

    def add(self, holds: np.ndarray) -> None:
        """Add a block, bool [N]."""
        if holds.any():
            if holds.all():
                self._open += len(holds)
            else:
                self._add_mixed(holds)
        else:
            self._end(self.position)
        self.position += len(holds)

    def _add_mixed(self, holds: np.ndarray) -> None:
        edges = np.flatnonzero(holds[1:] != holds[:-1]) + 1
        starts, stops = (edges[1::2], edges[::2]) if holds[0] else (edges[::2], edges[1::2])
        if holds[0]:  # the run that is open goes on
            self._open += int(stops[0])
            self._end(self.position + int(stops[0]))
            stops = stops[1:]
        else:
            self._end(self.position)
        if len(starts) > len(stops):
            self._open = len(holds) - int(starts[-1])
            starts = starts[:-1]
        lengths = stops - starts
        long = lengths >= self.least
        if long.any():
            self.count += int(long.sum())
            self.samples += int(lengths[long].sum())
            place = int(lengths.argmax())
            self._note(int(lengths[place]), self.position + int(starts[place]))

    def close(self) -> None:
        """End the run that is open, after the last block."""
        self._end(self.position)

    def _end(self, stop: int) -> None:
        if self._open >= self.least:
            self.count += 1
            self.samples += self._open
            self._note(self._open, stop - self._open)
        self._open = 0

    def _note(self, length: int, start: int) -> None:
        if length > self.longest:
            self.longest, self.at = length, start
