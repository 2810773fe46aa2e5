"""The audio cache: every clip decoded once into one memory-mapped int16 array.

A cache is named by a digest of its inputs (path, size and modification time of each file, and the decoding options), so
a changed, added or removed file makes a new one. It is written block by block beside its place, continued there by the
next process if the writer is killed, and renamed when it is whole. A lock keeps two processes from decoding the same
clips; the operating system releases it if its holder is killed.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median_low, multimode
from typing import Any, TypeVar

import numpy as np

from mimii_pl.core.errors import InputError, full_disk_says
from mimii_pl.core.files import require_writable, write_text
from mimii_pl.core.foreign import file_cell
from mimii_pl.dataset import _audio
from mimii_pl.dataset._channels import split_channel
from mimii_pl.dataset._clip import clip_name
from mimii_pl.dataset._decode import Ruined, decoded
from mimii_pl.dataset._journal import CHECKPOINT, JOURNAL_FILE, Fault, Journal

_T = TypeVar("_T")
log = logging.getLogger(__name__)
VERSION = 3  # increase it when the same files would be decoded to other samples
DECODE_AHEAD = 64  # clips decoded ahead of the writer; bounds the memory


@dataclass(frozen=True)
class WaveCache:
    """Decoded clips.

    Attributes:
        waves: int16 [n_clips, T], memory-mapped, read only.
        rows: index of the requested clip that each row holds; the other clips were skipped.
        digests: SHA-256 of the samples in each row.
        recorded: length of the recording of each row in s.
        peak: largest magnitude of a sample.
        skipped: (path, reason) of every clip that could not be used.
        folder: folder of the cache.
    """

    waves: np.ndarray
    rows: list[int]
    digests: list[str]
    recorded: list[float]
    peak: int
    skipped: list[tuple[str, str]]
    folder: Path


class ClipRows:
    """A selection of cached clips, like an int16 array [N, T]; indexing reads only the selected rows."""

    def __init__(self, waves: "np.ndarray | ClipRows", rows: np.ndarray) -> None:
        self.waves, self.rows = waves, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray | int) -> np.ndarray:
        return self.waves[self.rows[index]]


Waves = np.ndarray | ClipRows  # int16 [N, T], read when indexed


def clips_fingerprint(digests: Iterable[str]) -> str:
    """Digest clips by the digests of their samples, independent of file names, folders and order."""
    return hashlib.sha256(b"".join(sorted(map(bytes.fromhex, digests)))).hexdigest()[:16]


def build_cache(
    paths: Sequence[Path],
    cache_dir: Path,
    *,
    starts: Sequence[float | None] | None = None,
    sample_rate: int,
    seconds: float | None,
    hop: float | None = None,
    channel: int | str,
    full_scale: float = 1.0,
    description: str = "decoding",
) -> WaveCache:
    """Open the cache of these clips; decode them first if it does not exist yet.

    Args:
        paths: a file for each clip; the clips of a divided recording follow one another, in order.
        starts: of clips of divided recordings, in s; None: a clip is the beginning of its recording.
        hop: s from a clip of a divided recording to the next.
        seconds: length of every clip; None: the length that at least half of them have, or else their median.
        full_scale: number in floating-point recordings that counts as full scale.
        description: text of the progress bar.

    Raises:
        InputError: no clip can be used, or the disk is too small.
    """
    from filelock import FileLock

    decoding = {"sample_rate": sample_rate, "channel": channel, "full_scale": full_scale}
    starts = starts or [None] * len(paths)
    key = _key(paths, starts, seconds=seconds, **decoding, **({} if hop is None else {"hop": hop}))
    folder = cache_dir / key
    if (cache := _opened(folder)) is not None:
        return cache
    require_writable(cache_dir, "dataset.cache_dir=<another folder>")
    full = _no_space(cache_dir, "the disk filled up while decoding")
    with FileLock(cache_dir / f"{key}.lock"), full_disk_says(full):
        if (cache := _opened(folder)) is None:
            shutil.rmtree(folder, ignore_errors=True)
            _write(folder, paths, starts, seconds, hop, decoding, description)
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
        skipped = [tuple(item) for item in meta["skipped"]]
        rows, digests, recorded, peak = (meta[name] for name in ("rows", "digests", "recorded", "peak"))
        return WaveCache(waves, rows, digests, recorded, peak, skipped, folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the audio cache %s is damaged (%s): the recordings are decoded again", folder, error)
        return None


def _key(paths: Sequence[Path], starts: Sequence[float | None], **options: Any) -> str:
    if not any(start is not None for start in starts):
        options.pop("hop", None)
    digest = hashlib.sha256(json.dumps([VERSION, options], sort_keys=True).encode())
    for path, clips in groupby(paths):
        if (count := len(list(clips))) > 1:
            digest.update(f"{count}\0".encode())
        name = os.fsencode(os.path.realpath(path))  # any bytes, and links that lead to themselves
        try:
            stat = split_channel(path)[0].stat()
        except OSError:  # deleted since it was discovered: reported as skipped
            digest.update(name + b"\0\n")
        else:
            digest.update(name + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _write(
    folder: Path,
    paths: Sequence[Path],
    starts: Sequence[float | None],
    seconds: float | None,
    hop: float | None,
    decoding: dict[str, Any],
    description: str,
) -> None:
    from rich.progress import track

    partial = folder.with_suffix(".partial")  # may be left by a killed writer, since we hold the lock
    partial.mkdir(exist_ok=True)
    try:
        rate = decoding["sample_rate"]
        samples = max(1, round((seconds or _common_duration(paths)) * rate))
        journal = Journal.read(partial, 2 * samples)
        _check_space(folder.parent, (len(paths) - len(journal.rows)) * samples * 2)
        if journal.done:
            log.info("%s: continued, %d of %d clips are decoded", partial, journal.done, len(paths))
        options = {**decoding, "samples": samples}
        found = decoded(paths, starts, round((hop or 0) * rate), options, journal.done, ahead=DECODE_AHEAD)
        bar = track(found, description, total=len(paths), completed=journal.done)
        with open(partial / "waves.int16", "ab") as file:
            file.truncate(len(journal.rows) * samples * 2)
            for clip, result in bar:
                name = file_cell(clip_name(paths[clip], starts[clip]))
                if isinstance(result, Ruined):  # the clips before, too
                    journal.keep(journal.before(clip))
                    file.truncate(len(journal.rows) * samples * 2)
                    journal.faults.append(Fault.of(file_cell(paths[clip]), result.reason))
                    journal.done = clip + result.clips
                    journal.note(partial, file)
                    continue
                if isinstance(result, _audio.UnreadableClip):
                    journal.faults.append(Fault.of(name, result))
                else:
                    wave = _audio.fit_length(result.wave, samples).tobytes()
                    journal.rows.append(clip)
                    journal.digests.append(hashlib.sha256(wave).hexdigest())
                    journal.recorded.append(result.recorded)
                    journal.peak = max(journal.peak, int(result.wave.max()), -int(result.wave.min()))
                    file.write(wave)
                journal.done = clip + 1
                if journal.unnoted * samples * 2 >= CHECKPOINT:
                    journal.note(partial, file)
            file.flush()
            os.fsync(file.fileno())  # before the rename: a power cut must not leave a hole
        if not journal.rows:
            raise InputError(_none_usable(journal.faults))
        meta = {"samples": samples, "rows": journal.rows, "digests": journal.digests, "recorded": journal.recorded}
        meta |= {"peak": journal.peak, "skipped": [fault[:2] for fault in journal.faults]}
        write_text(partial / "meta.json", json.dumps(meta))
        (partial / JOURNAL_FILE).unlink(missing_ok=True)
        os.rename(partial, folder)
    except Exception:  # not of an interruption, after which the same command continues
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _none_usable(faults: Sequence[Fault]) -> str:
    message = f"none of {len(faults)} clips can be used; the first, "
    out_of_scale = [fault for fault in faults if fault.peak]
    if not out_of_scale:
        return message + "{}: {}".format(*faults[0][:2])
    way_out = _audio.full_scale_for(max(fault.peak for fault in out_of_scale))
    return f"{message}{out_of_scale[0].name}: {out_of_scale[0].fault}. Train with {way_out}"


def _common_duration(paths: Sequence[Path]) -> float:
    """Return the length in s that at least half of the recordings have, or else the median of their lengths."""
    measured = headers(paths, _audio.duration)
    lengths = [length for length in measured if isinstance(length, float)]
    if not lengths:
        raise InputError(none_readable(paths, measured))
    return common_length(lengths)


def headers(paths: Sequence[Path], measure: Callable[[Path], _T]) -> list[_T | _audio.UnreadableClip]:
    """Measure each recording by its header, or give the reason why it cannot be read."""

    def measured(path: Path) -> _T | _audio.UnreadableClip:
        try:
            return measure(path)
        except _audio.UnreadableClip as reason:
            return reason

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(measured, paths))


def none_readable(paths: Sequence[Path], reasons: Sequence[object]) -> str:
    """Make the message for recordings none of which can be read."""
    return f"none of {len(paths)} files is readable as audio; the first, {paths[0]}: {reasons[0]}"


def common_length(lengths: Sequence[float]) -> float:
    """Return the length that at least half of the recordings have, or else the median."""
    modes = multimode(lengths)
    return median_low(modes if 2 * list(lengths).count(modes[0]) >= len(lengths) else lengths)


def _check_space(cache_dir: Path, needed: int) -> None:
    free = shutil.disk_usage(cache_dir).free
    if needed > free:
        raise InputError(_no_space(cache_dir, f"{needed / 2**30:.2f} GiB needed, {free / 2**30:.2f} GiB free"))


def _no_space(cache_dir: Path, reason: str) -> str:
    way_out = "Free some space, or set dataset.cache_dir=<another disk>"
    return f"no room for the audio cache in {cache_dir}: {reason}. {way_out}"
