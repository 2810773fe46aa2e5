"""Inputs of a scorer: files and waveforms as clips, machine IDs by name as numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _audio

Audio = str | Path | Sequence[str | Path] | np.ndarray | Tensor


def file_clip(path: Path, sample_rate: int, samples: int, channel: int | str) -> np.ndarray:
    """Read a file as a clip, int16 [samples], resampled to `sample_rate` in Hz.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        wave = _audio.read(path, sample_rate=sample_rate, channel=channel, samples=samples)
    except _audio.UnreadableClip as reason:
        raise InputError(f"{path}: {reason}") from None
    return _audio.fit_length(wave, samples)


def waveform_clip(wave: np.ndarray, rate: int, sample_rate: int, samples: int) -> np.ndarray:
    """Convert a waveform [T], float with full scale 1 or int16, to a clip, int16 [samples]; rates in Hz.

    Raises:
        InputError: the waveform is empty, not finite, or of another type, or its rate is not 1 to 400 kHz.
    """
    if rate not in _audio.RATES:
        raise InputError(f"rate={rate}: waveforms of 1,000 to 400,000 Hz can be resampled, of a whole number of Hz")
    if wave.dtype != np.int16 and wave.dtype.kind != "f":
        raise InputError(
            f"a waveform of {wave.dtype}: its full scale is not known. Give floating point with full scale 1, or int16"
        )
    if not wave.size or not np.isfinite(wave).all():
        raise InputError("a waveform is empty or contains NaN or infinite samples")
    wave = wave if wave.dtype == np.int16 else wave.astype(np.float32)
    return _audio.fit_length(_audio.to_int16(_audio.resample(wave, int(rate), sample_rate)), samples)


def machine_id_numbers(
    machine_id: str | int | Sequence[str | int | None] | None, clips: int, labels: Sequence[str], *, needed: bool
) -> np.ndarray:
    """Return the positions in `labels` of machine IDs given by name, [clips]; -1 where none is needed.

    Args:
        machine_id: one for all clips, or one each: `id_00`, or `fan/id_00`; None: not given.
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
    found = [number for number, label in enumerate(labels) if name in (label, label.split("/", 1)[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"machine ID '{name}': give one of {', '.join(labels[number] for number in found)}")
    problem = "no machine ID was given" if name is None else f"machine ID '{name}' was not seen in training"
    raise InputError(f"{problem}; this detector knows: {', '.join(labels)}")
