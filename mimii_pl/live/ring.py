"""The latest sound of a station, by the number of its samples."""

import numpy as np


class SoundRing:
    """Keeps the latest samples, int16; those that were lost are zeros.

    Args:
        channels: of the sound.
        samples: that are kept.

    Attributes:
        size: samples that are kept.
        begin: number of the oldest sample that is kept.
        end: number of the sample after the newest.

    >>> ring = SoundRing(channels=1, samples=4)
    >>> ring.add(0, np.array([[1, 2, 3]], np.int16))
    >>> ring.add(4, np.array([[5]], np.int16))
    >>> ring.read(0, 9)
    (1, array([[2, 3, 0, 5]], dtype=int16))
    """

    def __init__(self, channels: int, samples: int) -> None:
        self._held, self.size = np.zeros((channels, samples), np.int16), samples
        self.begin = self.end = 0

    def add(self, first: int, samples: np.ndarray) -> None:
        """Add samples [C, T] whose first has a number not below `end`; what lies between was lost."""
        if self.begin == self.end:
            self.begin = self.end = first
        elif first - self.end >= self.size:
            self._held[:] = 0
            self.begin = self.end = first - self.size
        self._write(np.zeros((len(samples), max(0, first - self.end)), np.int16))
        self._write(samples)

    def _write(self, samples: np.ndarray) -> None:
        count = samples.shape[1]
        kept = samples[:, max(0, count - self.size) :]
        at = (self.end + count - kept.shape[1]) % self.size
        part = min(kept.shape[1], self.size - at)
        self._held[:, at : at + part] = kept[:, :part]
        self._held[:, : kept.shape[1] - part] = kept[:, part:]
        self.end += count
        self.begin = max(self.begin, self.end - self.size)

    def read(self, first: int, end: int) -> tuple[int, np.ndarray]:
        """Return the part of a span that is kept: the number of its first sample, and its samples [C, T]."""
        first, end = max(first, self.begin), min(end, self.end)
        return first, self._held[:, np.arange(first, max(first, end)) % self.size]
