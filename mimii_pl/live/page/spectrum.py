"""A spectrogram of the latest sound of a station that goes on, column by column."""

import base64
from collections import deque
from typing import Any

import numpy as np

from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.live.station import Station

COLUMNS_PER_SECOND = 20
SHOWN_SECONDS = 20  # that are kept for a page that opens
SPECTRUM_ROWS = 128  # from 0 Hz to half the rate
AT_ONCE = 50  # columns, of which memory is needed
FLOOR_DB = -127.0  # dB of full scale of the value 0; a step is half a dB


class RollingSpectrogram:
    """Spectra of a station's sound at a steady pace, numbered: column k begins with sample k * hop.

    Args:
        station: whose sound it is.
    """

    def __init__(self, station: Station) -> None:
        self.station, self.rate, self.next = station, 0, 0
        self._columns: deque[np.ndarray] = deque(maxlen=COLUMNS_PER_SECOND * SHOWN_SECONDS)

    @property
    def hop(self) -> int:
        """Samples from a column to the next."""
        return max(1, self.rate // COLUMNS_PER_SECOND)

    def update(self) -> dict[str, Any] | None:
        """Compute the columns of what was heard since the last call, the latest ones at most; None: there are none."""
        hop = self.hop
        rate, first, sound = self.station.sound(SHOWN_SECONDS, self.next * hop)
        if not rate:
            return None
        if rate != self.rate:
            self.rate, self.next, hop = rate, 0, max(1, rate // COLUMNS_PER_SECOND)
            self._columns.clear()
        n_fft = 1 << (2 * hop - 1).bit_length()
        begin = max(self.next, -(-first // hop))
        wave = sound.mean(0)[max(0, begin * hop - first) :]
        if len(wave) < n_fft:
            return None
        if begin > self.next:
            self._columns.clear()
        frames = np.lib.stride_tricks.sliding_window_view(wave, n_fft)[::hop]
        columns = [
            column for at in range(0, len(frames), AT_ONCE) for column in spectrum_bytes(frames[at : at + AT_ONCE])
        ]
        self._columns.extend(columns)
        self.next = begin + len(columns)
        return self._described(columns)

    def kept(self) -> dict[str, Any] | None:
        """Return the columns of the last seconds; None: there are none."""
        return self._described(list(self._columns)) if self._columns else None

    def _described(self, columns: list[np.ndarray]) -> dict[str, Any]:
        return {
            "first": self.next - len(columns),
            "rows": SPECTRUM_ROWS,
            "rate": self.rate,
            "seconds": self.hop / self.rate,
            "floor": FLOOR_DB,
            "data": base64.b64encode(np.stack(columns).tobytes()).decode(),
        }


def spectrum_bytes(frames: np.ndarray) -> np.ndarray:
    """Compute the spectra of frames of int16 sound, [N, n_fft], as uint8 [N, rows]: half dB above `FLOOR_DB`.

    A sine of full scale has 0 dB, shared among the bins of its row.

    >>> int(spectrum_bytes(np.zeros((2, 1024))).max())
    0
    """
    window = np.hanning(frames.shape[1])
    power = np.abs(np.fft.rfft(frames * window)[:, :-1]) ** 2 / (FULL_SCALE * window.sum() / 2) ** 2
    rows = power.reshape(len(frames), min(SPECTRUM_ROWS, power.shape[1]), -1).sum(2)
    rows = np.repeat(rows, SPECTRUM_ROWS // rows.shape[1], axis=1)
    return np.clip(np.round(2 * (10 * np.log10(np.maximum(rows, 1e-30)) - FLOOR_DB)), 0, 255).astype(np.uint8)
