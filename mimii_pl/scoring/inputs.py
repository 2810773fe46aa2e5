"""Inputs of a scorer: files and waveforms as clips, machine IDs by name as numbers."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.dataset import _audio
from mimii_pl.dataset._clip import split_name
from mimii_pl.dataset._spellings import folded
from mimii_pl.dataset._stream import excerpt

log = logging.getLogger(__name__)
Audio = str | Path | Sequence[str | Path] | np.ndarray | Tensor


class Heard(NamedTuple):
    """A clip, int16 [samples], or its channels [C, samples], and the share of the recording: 1 unless it is longer."""

    wave: np.ndarray
    share: float


def file_clip(path: Path, sample_rate: int, samples: int, channel: int | str, full_scale: float = 1.0) -> Heard:
    """Read a file as a clip, resampled to `sample_rate` in Hz; for `full_scale` see `read`.

    A part of a file is named as in the tables of a run: `night.wav#t=120` begins at 120 s.

    Raises:
        InputError: the file cannot be read.
    """
    options: dict[str, Any] = {"sample_rate": sample_rate, "channel": channel, "full_scale": full_scale}
    file, start = split_name(path)
    try:
        if start is not None:
            return Heard(_audio.fit_length(excerpt(file, start, samples=samples, **options), samples), 1.0)
        wave, recorded = _audio.read(path, samples=samples, **options)
    except _audio.UnreadableClip as reason:
        raise InputError(f"{path}: {reason}") from None
    return Heard(_audio.fit_length(wave, samples), _audio.heard(recorded, samples / sample_rate))


def channel_clips(path: Path, sample_rate: int, samples: int, full_scale: float = 1.0) -> Heard:
    """Read every channel of a file as a clip, [C, samples], as `file_clip` reads one; one that is silent is left out.

    Raises:
        InputError: the file, or each of its channels, cannot be read.
    """
    try:
        count = _audio.count_channels(split_name(path)[0])
    except _audio.UnreadableClip as reason:
        raise InputError(f"{path}: {reason}") from None
    heard, faults = [], []
    for channel in range(count):
        try:
            heard.append(file_clip(path, sample_rate, samples, channel, full_scale))
        except InputError as reason:
            faults.append(reason)
            log.warning("channel %d of %s", channel, printable(str(reason)))
    if not heard:
        raise faults[0]
    return Heard(np.stack([wave for wave, _ in heard]), heard[0].share)


def waveform_clip(wave: np.ndarray, rate: int, sample_rate: int, samples: int, full_scale: float = 1.0) -> Heard:
    """Convert a waveform [T], int16 or floating point in `full_scale`, to a clip; rates in Hz.

    Raises:
        InputError: the waveform is empty, not finite, beyond full scale (or rounds to silence), or of another type, or
            its rate is not 1 to 400 kHz.
    """
    if rate not in _audio.RATES:
        raise InputError(f"rate={rate}: waveforms of 1,000 to 400,000 Hz can be resampled, of a whole number of Hz")
    floating = wave.dtype.kind == "f"
    if wave.dtype != np.int16 and not floating:
        raise InputError(
            f"a waveform of {wave.dtype}: its full scale is not known. Give int16, or floating point with full scale "
            f"{full_scale:.8g}"
        )
    with np.errstate(over="ignore"):
        wave = wave.astype(np.float32) if floating else wave
    if not wave.size or not np.isfinite(wave).all():
        raise InputError("a waveform is empty or contains NaN or infinite samples")
    try:
        clip = _audio.to_clip(wave, int(rate), sample_rate, samples, full_scale if floating else None)
    except _audio.UnreadableClip as reason:
        raise InputError(f"a waveform: {reason}") from None
    return Heard(_audio.fit_length(clip, samples), _audio.heard(len(wave) / rate, samples / sample_rate))


def machine_id_numbers(
    machine_id: str | int | Sequence[str | int | None] | None, clips: int, labels: Sequence[str], *, needed: bool
) -> np.ndarray:
    """Return the positions in `labels` of machine IDs given by name, [clips]; -1 where none is needed.

    Args:
        machine_id: one for all clips, or one each: `id_00`, or `fan/id_00`, in any case where that is enough; None: not
            given.
        labels: machine IDs seen in training, as `<machine>/<id>`.
        needed: whether the detector uses the machine ID.

    Raises:
        InputError: an unknown machine ID, one that is missing, or not one per clip.

    >>> machine_id_numbers(["id_02", "fan/id_00"], 2, ["fan/id_00", "fan/id_02"], needed=True)
    array([1, 0])
    """
    names = [machine_id] * clips if machine_id is None or isinstance(machine_id, str | int) else list(machine_id)
    if len(names) != clips:
        raise InputError(f"{len(names)} machine IDs for {clips} clips: give one for all clips, or one for each")
    return np.array([_number(None if name is None else str(name), labels, needed) for name in names], int)


def _number(name: str | None, labels: Sequence[str], needed: bool) -> int:
    if name is None and len(labels) == 1:
        return 0
    if name is None and not needed:
        return -1
    spelled = [(label, label.split("/", 1)[1]) for label in labels]
    found = [number for number, names in enumerate(spelled) if name in names]
    if not found and name is not None:  # in other case
        found = [number for number, names in enumerate(spelled) if folded(name) in map(folded, names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"machine ID '{name}': give one of {', '.join(labels[number] for number in found)}")
    problem = "no machine ID was given" if name is None else f"machine ID '{name}' was not seen in training"
    raise InputError(f"{problem}; this detector knows: {', '.join(labels)}")
