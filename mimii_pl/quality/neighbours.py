"""Recordings that are too near to one another, copies, or too far from all the rest."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from mimii_pl.core.foreign import printable
from mimii_pl.dataset._audio import UnreadableClip, read
from mimii_pl.dataset._channels import split_channel
from mimii_pl.quality.findings import CheckedRecording, Finding, Severity
from mimii_pl.quality.limits import Limits
from mimii_pl.quality.spectrum import EDGES
from mimii_pl.quality.together import robust

log = logging.getLogger(__name__)
UPPER_SHARE = 0.6  # of half the lowest rate: above it a codec may have changed the spectrum
LEAST_BANDS = 4  # bands that recordings are compared in
NEAREST = 3  # the third neighbour tells how far a recording is from the rest: a pair of strangers has two
LEAST_FOLDER = 10  # recordings that tell what distances are usual
LEAST_SPREAD = 0.2  # of the logarithm of distances: theirs is unsure where recordings are few
CHUNK_DISTANCES = 1 << 22  # distances in memory at a time
PAIRS = 2_000  # that are compared sample by sample, those with the most alike spectra
COMPARED_RATE = 8000  # Hz
COMPARED_SECONDS = 10.0  # s from the start of each
KEPT_WAVES = 256  # recordings in memory for that, 160 KB each
WHITEN = 1e-3  # of the mean magnitude: weaker frequencies do not count


def spectra_of(recordings: Sequence[CheckedRecording]) -> tuple[list[int], np.ndarray]:
    """Return the rows of recordings with sound, and the shape of their spectra [N, bands] in dB, without their level.

    The bands are those that all of them have, up to `UPPER_SHARE` of half the lowest rate.
    """
    rows = [row for row, one in enumerate(recordings) if one.has_sound]
    if not rows:
        return [], np.empty((0, 0), np.float32)
    highest = UPPER_SHARE * min(recordings[row].measures.rate for row in rows) / 2
    bands = np.stack([recordings[row].measures.bands for row in rows])
    used = (EDGES[1:] <= highest) & np.isfinite(bands).all(axis=0)
    bands = bands[:, used]
    return rows, bands - bands.mean(axis=1, keepdims=True) if bands.shape[1] else bands


def check_unlike(recordings: Sequence[CheckedRecording], limits: Limits) -> Iterator[Finding]:
    """Yield normal recordings that sound unlike all others of their machine ID."""
    rows, spectra = spectra_of(recordings)
    if spectra.shape[1] < LEAST_BANDS:
        return
    normal = np.array([recordings[row].clip.condition != "anomaly" for row in rows])
    labels = np.array([recordings[row].clip.label for row in rows])
    for label in sorted(set(labels[normal])):
        group = np.flatnonzero(normal & (labels == label))
        if len(group) < LEAST_FOLDER:
            continue
        own, _ = nearest(spectra[group], spectra[group], NEAREST, themselves=True)
        away = own[:, -1]
        median, spread = robust(np.log(np.maximum(away, 1e-3)))
        strange = np.flatnonzero(
            (away >= limits.unlike)
            & (np.log(np.maximum(away, 1e-3)) >= median + limits.spread * max(spread, LEAST_SPREAD))
        )
        others = np.flatnonzero(normal & (labels != label))
        for place in strange:
            text = f"{away[place]:.1f} dB from the third nearest of {label}, where {np.exp(median):.1f} dB are usual"
            if len(others):
                there, which = nearest(spectra[group[[place]]], spectra[others], 1)
                if there[0, 0] < away[place] / 2:
                    text += f"; {there[0, 0]:.1f} dB from one of {labels[others[which[0, 0]]]}"
            yield Finding("unlike", "warning", label, rows[group[place]], text, float(away[place]))


def nearest(
    queries: np.ndarray, others: np.ndarray, k: int, *, themselves: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance, RMS over bands, and place of the k nearest others of each query, [N, k]; chunk by chunk.

    Args:
        themselves: True: queries are the others, and none is its own neighbour.
    """
    k = min(k, len(others) - 1 if themselves else len(others))
    squares = np.square(others).sum(axis=1)
    step = max(1, CHUNK_DISTANCES // max(1, len(others)))
    distances, places = [], []
    for start in range(0, len(queries), step):
        chunk = queries[start : start + step]
        squared = np.square(chunk).sum(axis=1)[:, None] + squares - 2 * chunk @ others.T
        if themselves:
            squared[np.arange(len(chunk)), start + np.arange(len(chunk))] = np.inf
        found = np.argpartition(squared, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(squared, found, axis=1)
        order = np.argsort(values, axis=1)
        places.append(np.take_along_axis(found, order, axis=1))
        distances.append(np.sqrt(np.maximum(np.take_along_axis(values, order, axis=1), 0) / others.shape[1]))
    return np.concatenate(distances), np.concatenate(places)


# --- copies ----------------------------------------------------------------------------------------------------------
def check_copies(
    recordings: Sequence[CheckedRecording],
    channel: int | str,
    full_scale: float,
    limits: Limits,
) -> Iterator[Finding]:
    """Yield recordings with the samples of another one, and those that are another one after a change.

    A change of gain, of format or rate, a lossy codec, or another beginning leaves the phases of the sound: the
    cross-correlation of both, with all frequencies alike strong, has a peak.
    """
    first: dict[str, int] = {}
    for row, one in enumerate(recordings):
        if one.has_sound:
            original = first.setdefault(one.measures.digest, row)
            if original != row:
                yield _copy("copy", recordings, original, row, "the same samples as", 1.0)
    rows = set(first.values())
    yield from _near(recordings, rows, channel, full_scale, limits)


def _near(
    recordings: Sequence[CheckedRecording],
    originals: set[int],
    channel: int | str,
    full_scale: float,
    limits: Limits,
) -> Iterator[Finding]:
    found, spectra = spectra_of(recordings)
    kept = [place for place, row in enumerate(found) if row in originals]
    rows, spectra = [found[place] for place in kept], spectra[kept]
    if len(rows) < 2 or spectra.shape[1] < LEAST_BANDS:
        return
    each = max(NEAREST, 2 * PAIRS // len(rows))  # all pairs of a small set
    distances, places = nearest(spectra, spectra, each, themselves=True)
    pairs = {
        (min(rows[at], rows[other]), max(rows[at], rows[other])): float(distance)
        for at, (near, who) in enumerate(zip(distances, places, strict=True))
        for distance, other in zip(near, who, strict=True)
    }
    files = [split_channel(one.clip.path)[0] for one in recordings]  # channels of one file are no copies
    others = [pair for pair in sorted(pairs, key=lambda pair: pairs[pair]) if files[pair[0]] != files[pair[1]]]
    chosen = others[:PAIRS]
    if len(rows) * (len(rows) - 1) > 2 * (len(pairs) - len(others) + len(chosen)):
        log.info("near copies: the %d pairs with the most alike spectra were compared", len(chosen))
    wave = _reader(channel, full_scale)
    for one, other in sorted(chosen):
        peak = whitened_peak(wave(recordings[one].clip.path), wave(recordings[other].clip.path))
        if peak >= limits.near:
            text = f"whitened cross-correlation {peak:.2f} with"
            yield _copy("near_copy", recordings, one, other, text, peak)


def _reader(channel: int | str, full_scale: float) -> Callable[[Path], np.ndarray]:
    samples = round(COMPARED_RATE * COMPARED_SECONDS)

    @lru_cache(KEPT_WAVES)
    def wave(path: Path) -> np.ndarray:
        try:
            options = {"channel": channel, "samples": samples, "full_scale": full_scale}
            return read(path, sample_rate=COMPARED_RATE, **options).wave  # type: ignore[arg-type]
        except UnreadableClip:  # out of scale, or silent in its beginning
            return np.empty(0, np.int16)

    return wave


def whitened_peak(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest whitened cross-correlation of two waves [T], 0 to 1: about 0.03 for unrelated sounds.

    Every frequency counts alike, so that a steady tone, which any two recordings of a machine share, does not.
    """
    if min(len(one), len(other)) < COMPARED_RATE // 10:
        return 0.0
    from scipy import fft

    size = 1 << (len(one) + len(other) - 1).bit_length()
    first, second = (fft.rfft((wave - wave.mean()).astype(np.float32), size) for wave in (one, other))
    strong = np.ones(len(first), bool)
    for spectrum in (first, second):
        magnitude = np.abs(spectrum)
        strong &= magnitude > WHITEN * magnitude.mean()
    cross = first * np.conj(second)
    cross[strong] /= np.abs(cross[strong])
    cross[~strong] = 0
    return float(np.abs(fft.irfft(cross, size)).max() * size / max(1, 2 * strong.sum()))


def _copy(kind: str, recordings: Sequence[CheckedRecording], one: int, other: int, words: str, value: float) -> Finding:
    """Return the finding for a pair; training is better off without the one of the two that is trained on."""
    first, second = recordings[one], recordings[other]
    tested = [recording.split == "test" for recording in (first, second)]
    row, original = (one, other) if tested[1] and not tested[0] else (other, one)
    differ = [name for name, values in _sides(first, second).items() if len(values) > 1]
    severity: Severity = "error" if differ else "warning"
    text = f"{words} {_short(recordings[original])}"
    if differ:
        text += f": but of another {' and '.join(differ)}"
    label = recordings[row].clip.label
    return Finding(kind, severity, label, row, text, value + len(differ), exclude=True, other=original)


def _sides(first: CheckedRecording, second: CheckedRecording) -> dict[str, set[str]]:
    return {
        "machine ID": {first.clip.label, second.clip.label},
        "split": {"train" if one.split == "validation" else one.split for one in (first, second) if one.split},
        "condition": {first.clip.condition, second.clip.condition},
    }


def _short(recording: CheckedRecording) -> str:
    return printable("/".join(recording.clip.path.parts[-3:]))
