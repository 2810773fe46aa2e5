"""Measures of one recording, taken in one pass over its blocks: memory does not depend on its length."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mimii_pl.dataset._audio import FULL_SCALE, RawFormat, UnreadableClip, raw_blocks
from mimii_pl.dataset._channels import split_channel
from mimii_pl.quality.limits import Limits
from mimii_pl.quality.runs import RunCounter
from mimii_pl.quality.spectrum import band_edge, band_powers, hum, window_length

FLAT_RUN = 3  # samples at the peak, one after another, that make a flat top
FLAT_LEAST = 1 / 128  # full scale 1: lower peaks have so few steps that samples are equal by chance
QUIETEST = -160.0  # dB, level of silence
LEVEL_BINS = 200  # 1 dB each, from `QUIETEST`: the histogram of levels of windows
SOUND_BITS = 32  # of the integers in which used bits are counted
WINDOWS_AT_A_TIME = 32  # of a second each, that are transformed together


@dataclass
class Measures:
    """Measures of a recording; lengths in s, levels in dB relative to full scale.

    Attributes:
        fault: why it cannot be read; empty if it can. Then everything else is unknown.
        silent: every sample is the same.
        used_bits: bits of a sample that differ between samples; 0 for floating point.
        level: of the sound without its mean.
        peak: largest magnitude, full scale 1.
        offset: mean of the samples, full scale 1.
        clipped: share of samples in flat tops, runs of `FLAT_RUN` or more at the recording's own peak.
        clips: number, longest in samples, and place in s of the longest of these runs.
        dropped: share of samples in dropped blocks, runs of one value.
        drops: number, longest in s, and place in s of the longest of them.
        dead: channels that are silent, or far below the loudest one.
        same: pairs of channels that are equal, or one the negative of the other.
        edge: frequency in Hz where the energy ends; half the rate if nowhere.
        hum: mains frequency in Hz, 0 without hum, and the share of the power at its multiples.
        bands: dB in the bands of `spectrum.EDGES`; NaN where it has none.
        levels: windows of about a second, half overlapping, by their level, [LEVEL_BINS].
        digest: of all samples and the rate.
    """

    fault: str = ""
    rate: int = 0
    channels: int = 0
    bits: int = 0
    subtype: str = ""
    seconds: float = 0.0
    silent: bool = False
    used_bits: int = 0
    level: float = QUIETEST
    peak: float = 0.0
    offset: float = 0.0
    clipped: float = 0.0
    clips: tuple[int, int, float] = (0, 0, 0.0)
    dropped: float = 0.0
    drops: tuple[int, float, float] = (0, 0.0, 0.0)
    dead: tuple[int, ...] = ()
    same: tuple[tuple[int, int], ...] = ()
    edge: float = 0.0
    hum: tuple[int, float] = (0, 0.0)
    bands: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    levels: np.ndarray = field(default_factory=lambda: np.zeros(LEVEL_BINS, np.int32))
    digest: str = ""

    @property
    def typical_level(self) -> float:
        """Median level of its windows in dB."""
        cumulated = np.cumsum(self.levels)
        return float(QUIETEST + np.searchsorted(cumulated, (cumulated[-1] + 1) // 2)) if cumulated[-1] else QUIETEST

    def share_below(self, level: float) -> float:
        """Return the share of windows below a level in dB."""
        total = self.levels.sum()
        below = self.levels[: int(np.clip(np.floor(level - QUIETEST), 0, LEVEL_BINS))].sum()
        return float(below / total) if total else 0.0


def measure_file(path: Path, channel: int | str, full_scale: float, limits: Limits) -> Measures:
    """Measure a recording of any length.

    Args:
        channel: index from 0, or `mean`: the sound that is measured; format and channels are measured of all.
        full_scale: number in floating-point recordings that counts as full scale.
    """
    try:
        file, chosen = split_channel(path, channel)
        return measure_blocks(raw_blocks(file), chosen, full_scale, limits, whole=file == path)
    except UnreadableClip as reason:
        return Measures(fault=str(reason))


def measure_blocks(
    blocks: Iterable[tuple[RawFormat, np.ndarray]],
    channel: int | str,
    full_scale: float,
    limits: Limits,
    *,
    whole: bool = True,
) -> Measures:
    """Measure blocks [N, channels] of integers or floats, each with the format of the recording; see `measure_file`.

    Args:
        whole: a copy of it is one of all channels; False: of the channel.

    Raises:
        UnreadableClip: it has no such channel, or samples that are not finite, or what `blocks` raises.
    """
    parts: tuple[RawFormat, _Sound, _Channels] | None = None
    digest = hashlib.sha256()
    for form, block in blocks:
        if parts is None:
            if channel != "mean" and not 0 <= int(channel) < form.channels:
                raise UnreadableClip(f"has no channel {channel}: it has {form.channels}, counted from 0")
            parts = form, _Sound(form.rate, limits), _Channels(form.channels)
            digest.update(str(form.rate).encode())
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            raise UnreadableClip("contains NaN or infinite samples")
        parts[2].add(block)
        scale = full_scale if block.dtype.kind == "f" else FULL_SCALE * (1 << 16 if block.dtype.itemsize > 2 else 1)
        picked = block.mean(axis=1, dtype=np.float64) if channel == "mean" else block[:, int(channel)]
        digest.update(np.ascontiguousarray(block if whole else picked).data)
        parts[1].add(np.asarray(picked, np.float64) / scale)
    if parts is None:
        raise UnreadableClip("empty: it contains no samples")
    form, sound, channels = parts
    found = sound.finish()
    found.rate, found.channels, found.bits, found.subtype = form.rate, form.channels, form.bits, form.subtype
    found.used_bits = min(channels.used_bits(), form.bits)
    found.dead, found.same = channels.dead(limits.dead), channels.same()
    found.digest = digest.hexdigest()
    return found


class _Sound:
    """Accumulators of the sound that is measured, one value per sample."""

    def __init__(self, rate: int, limits: Limits) -> None:
        self.rate, self.limits, self.window = rate, limits, window_length(rate)
        self.count, self.sum, self.squares = 0, 0.0, 0.0
        self.tops = [_Top(1), _Top(-1)]
        self.constant = RunCounter(max(2, round(limits.dropout * rate)) - 1)  # differences of 0
        self.last, self.rest = np.empty(0), np.empty(0)
        self.power = np.zeros(self.window // 2 + 1)
        self.shape = np.hanning(self.window)
        self.windows = 0
        self.levels = np.zeros(LEVEL_BINS, np.int32)

    def add(self, wave: np.ndarray) -> None:
        self.count += len(wave)
        self.sum += float(wave.sum())
        self.squares += float(np.square(wave).sum())
        for top in self.tops:
            top.add(wave)
        joined = np.concatenate([self.last, wave])
        self.constant.add(joined[1:] == joined[:-1])
        self.last = wave[-1:]
        waiting = np.concatenate([self.rest, wave])
        step = self.window // 2
        windows = max(0, (len(waiting) - self.window) // step + 1)
        if windows:
            each = sliding_window_view(waiting, self.window)[::step]
            for at in range(0, windows, WINDOWS_AT_A_TIME):
                self._add_windows(each[at : at + WINDOWS_AT_A_TIME])
        self.rest = waiting[windows * step :]

    def _add_windows(self, waves: np.ndarray) -> None:
        """Add windows [M, T] of a second or less."""
        centred = waves - waves.mean(axis=1, keepdims=True)
        level = 10 * np.log10(np.maximum(np.square(centred).mean(axis=1), 1e-16))
        np.add.at(self.levels, np.clip(np.floor(level - QUIETEST), 0, LEVEL_BINS - 1).astype(int), 1)
        spectrum = np.fft.rfft(centred * self.shape[: waves.shape[1]], n=self.window)
        self.power += (np.square(spectrum.real) + np.square(spectrum.imag)).sum(axis=0)
        self.windows += len(waves)

    def finish(self) -> Measures:
        if not self.windows and len(self.rest):
            self._add_windows(self.rest[None])
        self.constant.close()
        mean = self.sum / max(1, self.count)
        variance = max(0.0, self.squares / max(1, self.count) - mean**2)
        power = self.power / max(1, self.windows)
        runs = [top.finish() for top in self.tops]
        longest = max(runs, key=lambda top: top.longest)
        drops = self.constant
        return Measures(
            seconds=self.count / self.rate,
            silent=self.tops[0].peak == -self.tops[1].peak,
            level=max(QUIETEST, 10 * np.log10(max(variance, 1e-16))),
            peak=max(abs(top.peak) for top in self.tops),
            offset=mean,
            clipped=sum(top.samples for top in runs) / max(1, self.count),
            clips=(sum(top.count for top in runs), longest.longest, longest.at / self.rate),
            dropped=(drops.samples + drops.count) / max(1, self.count),
            drops=(drops.count, (drops.longest + 1) / self.rate if drops.count else 0.0, drops.at / self.rate),
            edge=band_edge(power, self.rate, self.limits.cliff),
            hum=hum(power, self.rate),
            bands=band_powers(power, self.rate),
            levels=self.levels,
        )


class _Top:
    """Flat tops of one sign: runs of samples at the highest value so far, counted anew where a higher one comes."""

    def __init__(self, sign: int) -> None:
        self.sign, self.peak, self.position = sign, -np.inf, 0
        self.runs = RunCounter(FLAT_RUN)

    def add(self, wave: np.ndarray) -> None:
        highest = float(wave.max() if self.sign > 0 else -wave.min())
        if highest > self.peak:
            self.peak, self.runs = highest, RunCounter(FLAT_RUN, self.position)
        if highest == self.peak:
            self.runs.add(wave == self.sign * highest)
        else:
            self.runs.add(np.zeros(len(wave), bool))
        self.position += len(wave)

    def finish(self) -> RunCounter:
        self.runs.close()
        return self.runs if self.peak >= FLAT_LEAST else RunCounter(FLAT_RUN)


class _Channels:
    """Accumulators of each channel: its bits, its level, and digests that tell which are equal."""

    def __init__(self, channels: int) -> None:
        self.count, self.sum, self.squares = 0, np.zeros(channels), np.zeros(channels)
        self.bits, self.integer, self.first = 0, True, None
        several = channels > 1
        self.digests = [hashlib.sha256() for _ in range(channels)] if several else []
        self.negatives = [hashlib.sha256() for _ in range(channels)] if several else []

    def add(self, block: np.ndarray) -> None:
        self.integer = block.dtype.kind == "i"
        if self.integer:
            shift = SOUND_BITS - 8 * block.dtype.itemsize
            self.bits |= int(np.bitwise_or.reduce(block, axis=None)) << shift
        self.count += len(block)
        for number in range(len(self.digests)):
            column = np.ascontiguousarray(block[:, number])
            exact = column.astype(np.float64) + 0.0  # no negative zeros
            self.sum[number] += exact.sum()
            self.squares[number] += np.square(exact).sum()
            self.digests[number].update(exact.data)
            self.negatives[number].update((0.0 - exact).data)

    def used_bits(self) -> int:
        """Return the bits of a sample from its highest to the lowest that is ever set; 0 for floating point."""
        if not self.integer or not self.bits:
            return 0
        return SOUND_BITS - ((self.bits & -self.bits).bit_length() - 1)

    def dead(self, below: float) -> tuple[int, ...]:
        """Return the channels that are so many dB below the loudest."""
        if not self.digests:
            return ()
        power = np.maximum(self.squares / max(1, self.count) - (self.sum / max(1, self.count)) ** 2, 0)
        return tuple(int(number) for number in np.flatnonzero(power < power.max() * 10 ** (-below / 10)))

    def same(self) -> tuple[tuple[int, int], ...]:
        """Return the pairs of channels, each with the first one, that are equal or negatives of one another."""
        first: dict[bytes, int] = {}
        pairs = []
        for number, (own, negative) in enumerate(zip(self.digests, self.negatives, strict=True)):
            key = min(own.digest(), negative.digest())
            if (other := first.setdefault(key, number)) != number:
                pairs.append((other, number))
        return tuple(pairs)


def of_cached(wave: np.ndarray, rate: int, limits: Limits) -> Measures:
    """Measure a clip of the audio cache, int16 [T]: one channel, at the rate of the run."""
    return measure_blocks([(RawFormat(rate, 1, 16, "PCM_16"), wave[:, None])], 0, 1.0, limits)
