"""Sound and spectrograms of events as files, within a size."""

import logging
from pathlib import Path

import numpy as np

from mimii_pl.core.files import replacing
from mimii_pl.live._database import Database

N_FFT = 1024
SHOWN_COLUMNS = 600  # of a spectrogram, at most
SHOWN_DB = 80.0  # dB that it shows
log = logging.getLogger(__name__)


class EventSounds:
    """Files of the events, named by their numbers.

    Args:
        folder: of the store.
        database: of the store.
        max_mb: MB of all files.
    """

    def __init__(self, folder: Path, database: Database, max_mb: float) -> None:
        self.folder, self.database, self.limit = folder, database, max_mb * 1e6
        for name in ("sound", "spectrogram"):
            (folder / name).mkdir(exist_ok=True)

    def sound_path(self, number: int) -> Path:
        """Return the place of an event's sound."""
        return self.folder / "sound" / f"{number:d}.flac"

    def spectrogram_path(self, number: int) -> Path:
        """Return the place of an event's spectrogram."""
        return self.folder / "spectrogram" / f"{number:d}.png"

    def existing(self, path: Path) -> Path | None:
        """Return a path if there is a file."""
        return path if path.is_file() else None

    def store(self, number: int, samples: np.ndarray, rate: int, at: float) -> None:
        """Write the sound and the spectrogram of an event, and delete what is too much."""
        import soundfile
        from matplotlib.image import imsave

        with replacing(self.sound_path(number)) as partial:
            soundfile.write(partial, samples.T, rate, format="FLAC", subtype="PCM_16")
        with replacing(self.spectrogram_path(number)) as partial:
            imsave(partial, event_spectrogram(samples), cmap="magma", origin="lower", format="png")
        with self.database.changes() as connection:
            connection.execute(
                "UPDATE events SET sound = 'kept', sound_at = ?, rate = ? WHERE id = ?", (at, rate, number)
            )
        self._trim(number)

    def _trim(self, newest: int) -> None:
        """Delete the oldest files beyond the size, those of marked events last, that of the newest event never."""
        sizes: dict[int, int] = {}
        for name in ("sound", "spectrogram"):
            for path in (self.folder / name).iterdir():
                if path.stem.isdigit():
                    sizes[int(path.stem)] = sizes.get(int(path.stem), 0) + path.stat().st_size
        total = sum(sizes.values())
        if total <= self.limit:
            return
        marked = {number for (number,) in self.database.read("SELECT id FROM events WHERE mark != ''")}
        deleted = []
        for number in sorted(sizes.keys() - {newest}, key=lambda number: (number in marked, number)):
            if total <= self.limit:
                break
            with self.database.changes() as connection:
                connection.execute("UPDATE events SET sound = 'deleted' WHERE id = ?", (number,))
            self.sound_path(number).unlink(missing_ok=True)
            self.spectrogram_path(number).unlink(missing_ok=True)
            total -= sizes[number]
            deleted.append(number)
        if deleted:
            log.warning(
                "the sound of %d events (%d to %d) was deleted, %d of them marked: %s may have %g MB (max_mb)",
                *(len(deleted), min(deleted), max(deleted), len(marked.intersection(deleted)), self.folder),
                self.limit / 1e6,
            )


def event_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute a spectrogram in dB below its loudest point, [F, N], of sound int16 [C, T], its channels averaged.

    >>> event_spectrogram(np.zeros((1, 100), np.int16)).shape
    (513, 1)
    """
    wave = np.pad(samples.mean(0), (0, max(0, N_FFT - samples.shape[1])))
    hop = max(N_FFT // 2, -(-(len(wave) - N_FFT) // (SHOWN_COLUMNS - 1)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, N_FFT)[::hop] * np.hanning(N_FFT)
    power = np.abs(np.fft.rfft(frames).T) ** 2
    return 10 * np.log10(np.maximum(power / max(power.max(), 1.0), 10 ** (-SHOWN_DB / 10)))
