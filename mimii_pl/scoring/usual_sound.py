"""Levels of a machine's training clips, `sound.json`: they tell another microphone, and a machine that stands still."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mimii_pl.core.errors import damaged
from mimii_pl.core.files import KeptValue, write_text
from mimii_pl.dataset._audio import FULL_SCALE

if TYPE_CHECKING:
    from mimii_pl.dataset import MachineSounds
    from mimii_pl.dataset._cache import Waves

SOUND_FILE = "sound.json"
LEVELS_FORMAT = 2  # increase it when levels are computed in another way
MEASURED_CLIPS = 200  # of a machine ID, spread evenly over its training clips
LOWEST_BAND = 50.0  # Hz, lower edge of the lowest third octave
BAND_FRAME = 0.128  # s of a frame, about: a power of 2 in samples
LOWEST_LEVEL = -120.0  # dB of digital silence
FIGURES = ("lowest", "mean", "highest")
FIGURE_FRAME = 0.05  # s
FLOOR_SHARE = 0.1  # of the frames: the level that so many stay below is the noise floor
LOWEST_TILT = 60.0  # Hz: below, hum and the stand decide


class SoundLevels(NamedTuple):
    """Levels of a clip in dB of full scale.

    Attributes:
        level: of the sound without its mean.
        bands: [K] of each third octave.
    """

    level: float
    bands: np.ndarray


class InputFigures(NamedTuple):
    """Three figures of a window of sound that tell a changed input from a changed machine.

    Attributes:
        level: in dB of full scale.
        tilt: slope of the spectrum in dB per octave.
        floor: noise floor: the level that a tenth of the moments stay below, in dB of full scale.
    """

    level: float
    tilt: float
    floor: float

    @classmethod
    def of(cls, wave: np.ndarray, rate: int) -> Self:
        """Measure a window of sound.

        Args:
            wave: [T] in full scale 1.
            rate: in Hz.

        >>> rng = np.random.default_rng(0)
        >>> [round(figure, 1) for figure in InputFigures.of(0.1 * rng.standard_normal(160_000), 16_000)]
        [-20.0, 0.0, -20.3]
        """
        length = min(max(1, round(FIGURE_FRAME * rate)), len(wave))
        wave = np.asarray(wave, np.float32)
        frames = wave[: len(wave) // length * length].reshape(-1, length)
        levels = _decibels(np.square(frames, dtype=np.float64).mean(axis=1))
        shape = np.hanning(length).astype(np.float32)
        power = np.square(np.abs(np.fft.rfft(frames * shape, axis=1))).mean(axis=0, dtype=np.float64)
        hertz = np.fft.rfftfreq(length, 1 / rate)
        edges = np.arange(math.log2(LOWEST_TILT), math.log2(rate / 2), 1 / 3)  # third octaves
        bands = [
            (edge, power[own].mean())
            for edge in edges
            if (own := (hertz >= 2**edge) & (hertz < 2 ** (edge + 1 / 3))).any()
        ]
        octaves, powers = np.array(bands).reshape(-1, 2).T
        tilt = np.polyfit(octaves, _decibels(powers), 1)[0] if len(bands) > 1 else 0.0
        total = _decibels(np.square(wave, dtype=np.float64).mean(keepdims=True))[0]
        return cls(float(total), float(tilt), float(np.quantile(levels, FLOOR_SHARE)))


class UsualSound(NamedTuple):
    """Levels of the training clips of a machine ID in dB of full scale.

    Attributes:
        hertz: [K + 1] edges of the third octaves.
        level: lowest, mean and highest level of a clip.
        bands: [3, K] likewise of each third octave.
    """

    hertz: np.ndarray
    level: tuple[float, float, float]
    bands: np.ndarray

    def loudest(self, bands: np.ndarray) -> tuple[float, float]:
        """Return the edges in Hz of the band that is furthest above its mean; NaN if none is above.

        Args:
            bands: [K] of a clip.
        """
        rise = bands - self.bands[1]
        at = int(np.argmax(rise))
        return (float(self.hertz[at]), float(self.hertz[at + 1])) if rise[at] > 0 else (math.nan, math.nan)


def third_octaves(rate: int) -> np.ndarray:
    """Return the edges in Hz of the third octaves that a sampling frequency holds, 1 kHz in the middle of one of them.

    >>> third_octaves(8000).round()[[0, 1, -1]]
    array([  56.,   70., 3564.])
    """
    edges = 1000 * 2 ** ((np.arange(-30, 40) + 0.5) / 3)
    return edges[(edges >= LOWEST_BAND) & (edges <= rate / 2)]


def sound_levels(wave: np.ndarray, rate: int) -> SoundLevels:
    """Measure a clip, int16 [T].

    >>> wave = 16384 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> levels = sound_levels(wave.astype(np.int16), 16000)
    >>> round(levels.level, 1), round(float(levels.bands.max()), 1)
    (-9.0, -9.0)
    """
    sound = wave.astype(np.float32) / np.float32(FULL_SCALE)
    sound -= sound.mean()
    length = min(1 << round(math.log2(BAND_FRAME * rate)), len(sound))
    frames = sound[: len(sound) // length * length].reshape(-1, length)
    shape = np.hanning(length).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames * shape, axis=1))).mean(axis=0, dtype=np.float64)
    places = np.searchsorted(np.fft.rfftfreq(length, 1 / rate), third_octaves(rate))
    sums = np.concatenate([[0], np.cumsum(power)])[places]
    scale = 2 / (length * float(np.square(shape).sum()))  # so that bands sum to the mean square of the sound
    return SoundLevels(float(_decibels(np.square(sound).mean(dtype=np.float64))), _decibels(np.diff(sums) * scale))


def _decibels(power: Any) -> Any:
    return np.maximum(10 * np.log10(np.maximum(power, 1e-20)), LOWEST_LEVEL)


def kept_levels(data: "MachineSounds") -> KeptValue[dict[str, Any]]:
    """Return where the levels of training clips are kept beside the audio cache."""
    rows = data.rows("train")
    clips = [(data.digests[row], int(data.machine_id[row])) for row in rows]
    key = [LEVELS_FORMAT, MEASURED_CLIPS, data.sample_rate, data.labels, clips]
    return KeptValue(data.cache_dir, "levels", key, _validate_state)


def write_usual_sound(data: "MachineSounds", run_dir: Path) -> None:
    """Measure training clips of each machine ID, and write the levels into a run directory."""
    rate = data.sample_rate
    state = kept_levels(data).get(
        lambda: {"sample_rate": rate, "machine_ids": _measured(*data.of("train"), data.labels, rate)}
    )
    write_text(run_dir / SOUND_FILE, json.dumps(state))


def widen_usual_sound(source: Path, run_dir: Path, clips: "Waves", ids: np.ndarray, labels: Sequence[str]) -> None:
    """Write the levels of a run, widened by those of more normal clips, into the directory of a new run.

    Args:
        source: directory of the run; of one that has no levels, nothing is written.
        clips: int16 [N, T].
        ids: numbers of their machine IDs [N].
        labels: machine IDs by number.

    Raises:
        InputError: the levels of the run are damaged.
    """
    if (state := stored_sound(source)) is None:
        return
    known = dict(state["machine_ids"])
    for label, new in _measured(clips, ids, labels, int(state["sample_rate"])).items():
        known[label] = _joined(known[label], new) if label in known else new
    write_text(run_dir / SOUND_FILE, json.dumps({**state, "machine_ids": known}))


def _measured(clips: "Waves", ids: np.ndarray, labels: Sequence[str], rate: int) -> dict[str, dict[str, Any]]:
    """Measure clips of each machine ID that has some."""
    measured = {}
    for number, label in enumerate(labels):
        rows = np.flatnonzero(ids == number)
        if not len(rows):
            continue
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, MEASURED_CLIPS).round().astype(int))]
        found = [sound_levels(clips[row], rate) for row in rows.tolist()]
        table = np.array([[one.level, *one.bands] for one in found])
        figures = (table.min(axis=0), table.mean(axis=0), table.max(axis=0))
        inputs = [InputFigures.of(np.asarray(clips[row]) / np.float32(FULL_SCALE), rate) for row in rows.tolist()]
        measured[label] = {
            "clips": len(rows),
            "inputs": np.round(inputs, 2).tolist(),
            **{name: _figure(*values) for name, values in zip(FIGURES, figures, strict=True)},
        }
    return measured


def _figure(level: float, *bands: float) -> dict[str, Any]:
    return {"level": round(float(level), 1), "bands": [round(float(band), 1) for band in bands]}


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    tables = [np.array([[one[name]["level"], *one[name]["bands"]] for name in FIGURES]) for one in (old, new)]
    counts = [int(old["clips"]), int(new["clips"])]
    figures = (np.min(tables, axis=0)[0], np.average(tables, axis=0, weights=counts)[1], np.max(tables, axis=0)[2])
    inputs = [*old.get("inputs", ()), *new["inputs"]]
    kept = np.unique(np.linspace(0, len(inputs) - 1, MEASURED_CLIPS).round().astype(int))
    return {
        "clips": sum(counts),
        "inputs": [inputs[row] for row in kept],
        **{name: _figure(*values) for name, values in zip(FIGURES, figures, strict=True)},
    }


def stored_sound(place: Path) -> Mapping[str, Any] | None:
    """Return what `write_usual_sound` wrote into a run directory; None for a run of an earlier version.

    Raises:
        InputError: it is damaged.
    """
    path = place / SOUND_FILE
    if not path.is_file():
        return None
    with damaged(path):
        state = json.loads(path.read_text(encoding="utf-8"))
        _validate_state(state)
        return state


def _validate_state(state: Any) -> None:
    """Validate what `write_usual_sound` writes. Errors as `usual_sound`."""
    for label, levels in state["machine_ids"].items():
        usual_sound(state, label)
        usual_inputs(state, label)
        if int(levels["clips"]) < 1:
            raise ValueError(f"the levels of {label} are of no clip")


def usual_sound(state: Mapping[str, Any] | None, label: str) -> UsualSound | None:
    """Return the levels of a machine ID, `fan/id_00`; None if they are not known.

    Raises:
        ValueError, KeyError, TypeError: they are not what `write_usual_sound` wrote; see `damaged`.
    """
    known = (state or {}).get("machine_ids", {}).get(label)
    if known is None:
        return None
    assert state is not None
    hertz = third_octaves(int(state["sample_rate"]))
    level = tuple(float(known[name]["level"]) for name in FIGURES)
    bands = np.array([known[name]["bands"] for name in FIGURES], float)
    if bands.shape != (len(FIGURES), len(hertz) - 1) or not np.isfinite([*level, *bands.ravel()]).all():
        raise ValueError(f"the levels of {label} are no finite numbers of {len(hertz) - 1} bands")
    return UsualSound(hertz, (level[0], level[1], level[2]), bands)


def usual_inputs(state: Mapping[str, Any] | None, label: str) -> list[InputFigures]:
    """Return the figures of training clips of a machine ID; empty if they are not known. Errors as `usual_sound`."""
    known = (state or {}).get("machine_ids", {}).get(label) or {}
    values = np.array(known.get("inputs", []), float).reshape(-1, len(InputFigures._fields))
    if not np.isfinite(values).all():
        raise ValueError(f"the figures of {label} are no finite numbers")
    return [InputFigures(*row) for row in values.tolist()]
