"""The audio cache: every clip decoded once into one memory-mapped int16 array.

A cache is named by a digest of its inputs (path, size and modification time of each file, and the decoding options), so
a changed, added or removed file makes a new one. It is written atomically. A lock keeps two processes from decoding the
same clips; the operating system releases it if its holder is killed.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low, multimode
from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError, full_disk_says
from mimii_pl.core.files import require_writable, write_text
from mimii_pl.core.foreign import file_cell
from mimii_pl.core.prefetch import prefetch
from mimii_pl.dataset import _audio

log = logging.getLogger(__name__)
VERSION = 2  # increase it when the same files would be decoded to other samples
DECODE_AHEAD = 64  # clips decoded ahead of the writer; bounds the memory


@dataclass(frozen=True)
class WaveCache:
    """Decoded clips.

    Attributes:
        waves: int16 [n_clips, T], memory-mapped, read only.
        rows: index of the requested clip that each row holds; the other clips were skipped.
        digests: SHA-256 of the samples in each row.
        skipped: (path, reason) of every clip that could not be used.
        folder: folder of the cache.
    """

    waves: np.ndarray
    rows: list[int]
    digests: list[str]
    skipped: list[tuple[str, str]]
    folder: Path


class ClipRows:
    """A selection of cached clips, like an int16 array [N, T]; indexing reads only the selected rows."""

    def __init__(self, waves: np.ndarray, rows: np.ndarray) -> None:
        self.waves, self.rows = waves, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return self.waves[self.rows[index]]


def clips_fingerprint(digests: Iterable[str]) -> str:
    """Digest clips by the digests of their samples, independent of file names, folders and order."""
    return hashlib.sha256(b"".join(sorted(map(bytes.fromhex, digests)))).hexdigest()[:16]


def build_cache(
    paths: Sequence[Path],
    cache_dir: Path,
    *,
    sample_rate: int,
    seconds: float | None,
    channel: int | str,
    description: str = "decoding",
) -> WaveCache:
    """Open the cache of these files; decode them first if it does not exist yet.

    Args:
        seconds: length of every clip; None: the most common length among them, of several the one in the middle.
        description: text of the progress bar.

    Raises:
        InputError: no clip can be used, or the disk is too small.
    """
    from filelock import FileLock

    key = _key(paths, sample_rate=sample_rate, seconds=seconds, channel=channel)
    folder = cache_dir / key
    if (cache := _opened(folder)) is not None:
        return cache
    require_writable(cache_dir, "dataset.cache_dir=<another folder>")
    full = _no_space(cache_dir, "the disk filled up while decoding")
    with FileLock(cache_dir / f"{key}.lock"), full_disk_says(full):
        if (cache := _opened(folder)) is None:
            shutil.rmtree(folder, ignore_errors=True)
            _write(folder, paths, sample_rate, seconds, channel, description)
            cache = _opened(folder)
    assert cache is not None
    return cache


def _opened(folder: Path) -> WaveCache | None:
    """Open a cache; None if there is none, or a damaged one."""
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text())
        waves = np.memmap(folder / "waves.int16", np.int16, "r", shape=(len(meta["rows"]), meta["samples"]))
        return WaveCache(waves, meta["rows"], meta["digests"], [tuple(item) for item in meta["skipped"]], folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the audio cache %s is damaged (%s): the recordings are decoded again", folder, error)
        return None


def _key(paths: Sequence[Path], **options: Any) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, options], sort_keys=True).encode())
    for path in paths:
        name = os.fsencode(os.path.realpath(path))  # any bytes, and links that lead to themselves
        try:
            stat = path.stat()
        except OSError:  # deleted since it was discovered: reported as skipped
            digest.update(name + b"\0\n")
        else:
            digest.update(name + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _write(
    folder: Path, paths: Sequence[Path], sample_rate: int, seconds: float | None, channel: int | str, description: str
) -> None:
    partial = folder.with_suffix(".partial")  # left by a killed writer, since we hold the lock
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        samples = max(1, round((seconds or _common_duration(paths)) * sample_rate))
        _check_space(folder.parent, len(paths) * samples * 2)
        rows, digests, skipped = [], [], []
        with open(partial / "waves.int16", "wb") as file:
            for row, wave in enumerate(_decoded(paths, sample_rate, channel, samples, description)):
                if isinstance(wave, _audio.UnreadableClip):
                    skipped.append((file_cell(paths[row]), str(wave)))
                else:
                    clip = _audio.fit_length(wave, samples).tobytes()
                    rows.append(row)
                    digests.append(hashlib.sha256(clip).hexdigest())
                    file.write(clip)
            file.flush()
            os.fsync(file.fileno())  # before the rename: a power cut must not leave a hole
        if not rows:
            raise InputError(f"none of {len(paths)} clips can be used; the first, {skipped[0][0]}: {skipped[0][1]}")
        meta = {"samples": samples, "rows": rows, "digests": digests, "skipped": skipped}
        write_text(partial / "meta.json", json.dumps(meta))
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decoded(
    paths: Sequence[Path], sample_rate: int, channel: int | str, samples: int, description: str
) -> Iterator[np.ndarray | _audio.UnreadableClip]:
    """Decode clips in order, or give the reason why one cannot be used; libsndfile runs outside Python's lock."""
    from rich.progress import track

    def decode(path: Path) -> np.ndarray | _audio.UnreadableClip:
        try:
            return _audio.read(path, sample_rate=sample_rate, channel=channel, samples=samples)
        except _audio.UnreadableClip as reason:
            return reason

    yield from track(prefetch(decode, paths, depth=DECODE_AHEAD), description, total=len(paths))


def _common_duration(paths: Sequence[Path]) -> float:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lengths = [length for length in pool.map(_audio.duration, paths) if length]
    if not lengths:
        raise InputError(f"none of {len(paths)} files is readable as audio; the first: {paths[0]}")
    return median_low(multimode(lengths))


def _check_space(cache_dir: Path, needed: int) -> None:
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise InputError(_no_space(cache_dir, f"{needed / 2**30:.2f} GiB needed, {free / 2**30:.2f} GiB free"))


def _no_space(cache_dir: Path, reason: str) -> str:
    way_out = "Free some space, or set dataset.cache_dir=<another disk>"
    return f"no room for the audio cache in {cache_dir}: {reason}. {way_out}"
