"""Physics of four machine types, at 16 kHz: rotation, impacts, flow and resonances.

A `Unit` is one machine; `vary` returns the same machine on another day; `SOUNDS[type]` renders its sound. The random
numbers all come from the generator that is passed in. Waveforms are float64 [T], at an arbitrary level.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import fft

_Decibels = TypeVar("_Decibels", float, np.ndarray)
RATE = 16000  # Hz
HARMONICS = 40  # number in a pulse train; the upper half fades out


@dataclass(frozen=True)
class Unit:
    """One machine: its construction, its operation, and its faults (zero while it is healthy).

    Attributes:
        speed: turns, strokes or switching cycles per second.
        teeth: pulses per turn: blades of a fan, vanes of a pump, belt teeth per metre of a slider's travel.
        rolloff: decay of the pulses' harmonics in dB per octave.
        skew: phase of the harmonics: 0 all peak together (a sharp pulse), 1 they sweep through the whole period.
        flow: broadband noise relative to the tones, in dB.
        tilt: slope of the broadband noise in dB per octave.
        duty: share of a pulse's period taken by its burst of noise (fan, pump); decay of a click in seconds (valve).
        modes: resonances of the casing as (Hz, quality factor, gain).
        stiffness: factor on the frequencies of all modes.
        ripple: depth of the amplitude modulation once per turn.
        wander: standard deviation of each harmonic's own slow phase, in radians; 0 is locked.
        scatter: share of the bubbles that collapse at any time rather than in their burst.
        bounce: share of a strike's energy in a second strike, milliseconds later.
        hiss: noise of escaping fluid or dry friction, not filtered by the casing (amplitude).
        knock: impacts on damage along the rail (amplitude).
        squeal: tone of dry friction (amplitude).
        hum: twice the mains frequency and its multiples (amplitude).
    """

    speed: float
    teeth: int
    rolloff: float
    skew: float
    flow: float
    tilt: float
    duty: float
    modes: tuple[tuple[float, float, float], ...]
    stiffness: float = 1.0
    ripple: float = 0.1
    wander: float = 0.0
    scatter: float = 0.0
    bounce: float = 0.0
    hiss: float = 0.0
    knock: float = 0.0
    squeal: float = 0.0
    hum: float = 0.0


UNITS = {  # resonances of neighbouring IDs are about 12 % apart, in a different order for each mode
    "fan": {
        0: Unit(24.0, 5, 4.0, 0.0, -3.5, -4.0, 0.5, ((430, 8, 3.0), (1320, 12, 3.5), (2700, 15, 3.0))),
        2: Unit(27.0, 5, 5.0, 0.06, -3.0, -4.0, 0.5, ((530, 8, 3.0), (1050, 12, 3.5), (3390, 15, 3.0))),
        4: Unit(21.0, 6, 4.5, 0.03, -4.0, -4.0, 0.5, ((380, 8, 3.0), (1480, 12, 3.5), (3020, 15, 3.0))),
        6: Unit(25.5, 6, 5.5, 0.1, -3.5, -4.0, 0.5, ((480, 8, 3.0), (1180, 12, 3.5), (3790, 15, 3.0))),
    },
    "pump": {
        0: Unit(24.0, 4, 6.0, 0.0, 0.0, 0.5, 0.22, ((280, 6, 2.5), (1190, 10, 3.0), (2600, 10, 3.0))),
        2: Unit(28.0, 3, 5.5, 0.05, 0.5, 0.5, 0.24, ((350, 6, 2.5), (950, 10, 3.0), (3260, 10, 3.0))),
        4: Unit(21.0, 5, 6.5, 0.0, -0.5, 0.5, 0.21, ((250, 6, 2.5), (1330, 10, 3.0), (2910, 10, 3.0))),
        6: Unit(25.5, 4, 6.0, 0.08, 0.0, 0.5, 0.23, ((310, 6, 2.5), (1060, 10, 3.0), (3650, 10, 3.0))),
    },
    "slider": {
        0: Unit(1.1, 110, 5.0, 0.0, -3.0, -2.0, 0.1, ((630, 8, 3.0), (2010, 12, 3.5), (3600, 15, 3.0))),
        2: Unit(1.4, 130, 5.5, 0.05, -2.5, -2.0, 0.1, ((790, 8, 3.0), (1600, 12, 3.5), (4520, 15, 3.0))),
        4: Unit(0.9, 95, 4.5, 0.0, -3.5, -2.0, 0.1, ((560, 8, 3.0), (2250, 12, 3.5), (4030, 15, 3.0))),
        6: Unit(1.25, 120, 5.0, 0.08, -3.0, -2.0, 0.1, ((700, 8, 3.0), (1790, 12, 3.5), (5060, 15, 3.0))),
    },
    "valve": {
        0: Unit(1.6, 1, 0.0, 0.0, -16.0, 1.5, 0.003, ((840, 12, 3.0), (2630, 20, 4.0), (4300, 20, 3.5))),
        2: Unit(2.1, 1, 0.0, 0.0, -15.5, 1.5, 0.002, ((1050, 12, 3.0), (2100, 20, 4.0), (5390, 20, 3.5))),
        4: Unit(1.3, 1, 0.0, 0.0, -16.5, 1.5, 0.004, ((750, 12, 3.0), (2950, 20, 4.0), (4820, 20, 3.5))),
        6: Unit(1.85, 1, 0.0, 0.0, -16.0, 1.5, 0.003, ((940, 12, 3.0), (2350, 20, 4.0), (6040, 20, 3.5))),
    },
}


def vary(unit: Unit, rng: np.random.Generator) -> Unit:
    """Return the same healthy machine on another day: speed, load, wear and temperature vary slightly."""
    return replace(
        unit,
        speed=unit.speed * (1 + 0.02 * rng.standard_normal()),
        rolloff=unit.rolloff + 0.6 * rng.standard_normal(),
        flow=unit.flow + 1.5 * rng.standard_normal(),
        tilt=unit.tilt + 0.5 * rng.standard_normal(),
        stiffness=1 + 0.015 * rng.standard_normal(),
        ripple=unit.ripple * rng.uniform(0.5, 1.5),
        modes=tuple((hz, q, gain * np.exp(0.15 * rng.standard_normal())) for hz, q, gain in unit.modes),
    )


def fan(unit: Unit, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render blade-pass harmonics at a slowly drifting speed, and air flow that swells as each blade passes."""
    turns = _turns(unit.speed, samples, rng)
    tone = _harmonics(unit.teeth * turns, unit, rng) * (1 + unit.ripple * np.cos(2 * np.pi * turns))
    wash = _noise(samples, unit.tilt, rng) * _bursts(unit.teeth * turns, unit.duty, 0.0)
    return _ring(tone + _ratio(unit.flow) * wash, unit) + _faults(unit, samples, rng)


def pump(unit: Unit, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the pressure pulsation of the vanes, each with a crackle of collapsing bubbles."""
    turns = _turns(unit.speed, samples, rng)
    tone = _harmonics(unit.teeth * turns, unit, rng) * (1 + unit.ripple * np.cos(2 * np.pi * turns))
    crackle = _noise(samples, unit.tilt, rng) * _bursts(unit.teeth * turns, unit.duty, unit.scatter)
    return _ring(tone + _ratio(unit.flow) * crackle, unit) + _faults(unit, samples, rng)


def slider(unit: Unit, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render strokes back and forth: belt teeth and friction follow the carriage's velocity, and the ends thump."""
    strokes = _turns(unit.speed, samples, rng) + rng.uniform()
    velocity = np.abs(np.clip(1.4 * np.sin(2 * np.pi * strokes), -1, 1))
    tone = _harmonics(np.cumsum(unit.teeth * velocity) / RATE, unit, rng) * velocity
    friction = _noise(samples, unit.tilt, rng) * velocity
    ends = _strikes(_times(strokes, (0.0, 0.5)), 0.004, 0.0, samples, rng)
    damage = _strikes(_times(strokes, (0.17, 0.83)), 0.001, 0.0, samples, rng)  # one position, passed both ways
    squeal = unit.squeal * velocity * _tone(2150 * unit.stiffness * (1 + 0.05 * velocity))
    body = tone + _ratio(unit.flow) * friction + 4 * ends + unit.knock * damage + squeal
    return _ring(body, unit) + _faults(unit, samples, rng) * velocity


def valve(unit: Unit, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render a solenoid that clicks when it opens and closes, with fluid flow while it is open."""
    cycles = _turns(unit.speed, samples, rng) + rng.uniform()
    opened = 0.35 + 0.02 * rng.standard_normal()  # share of the cycle
    clicks = _strikes(_times(cycles, (0.0,)), unit.duty, unit.bounce, samples, rng)
    clacks = _strikes(_times(cycles, (opened,)), unit.duty, unit.bounce, samples, rng)
    rush = _noise(samples, unit.tilt, rng) * np.where(cycles % 1 < opened, 1.0, 0.0)
    return _ring(10 * clicks + 6 * clacks + _ratio(unit.flow) * rush, unit) + _faults(unit, samples, rng)


SOUNDS = {"fan": fan, "pump": pump, "slider": slider, "valve": valve}


def factory(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the factory noise: rumble and air, tones of other machines, an occasional clang."""
    swell = 1 + 0.2 * _slow(samples, 1.0, rng)
    air = _noise(samples, rng.normal(-4.5, 0.7), rng) * np.maximum(swell, 0.3)
    tones = sum(rng.uniform(0.05, 0.25) * _tone(np.full(samples, rng.uniform(60, 900))) for _ in range(4))
    times = rng.integers(0, samples, rng.poisson(0.2 * samples / RATE))
    clang = Unit(0, 0, 0, 0, 0, 0, 0, tuple((rng.uniform(300, 4000), rng.uniform(20, 60), 3.0) for _ in range(3)))
    return air + tones + _ring(rng.uniform(1, 4) * _strikes(times, 0.005, 0.0, samples, rng), clang)


def _ratio(db: _Decibels) -> _Decibels:
    """Convert decibels to an amplitude ratio."""
    return 10 ** (db / 20)


def _slow(samples: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """Interpolate linearly between standard normal knots every `period` seconds."""
    knots = rng.standard_normal(int(samples / (period * RATE)) + 3)
    return np.interp(np.arange(samples) / (period * RATE) + rng.uniform(), np.arange(len(knots)), knots)


def _turns(speed: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Count the turns since the start of the clip; the speed drifts by about 0.3 % within seconds."""
    return np.cumsum(speed * (1 + 0.003 * _slow(samples, 2.0, rng))) / RATE


def _tone(hz: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(hz) / RATE)


def _harmonics(pulses: np.ndarray, unit: Unit, rng: np.random.Generator) -> np.ndarray:
    """Sum the harmonics of a pulse train, power 1; phase-locked they form pulses, with wandering phases none."""
    numbers = np.arange(1, min(HARMONICS, 0.5 / np.max(np.diff(pulses))))
    gains = _ratio(-unit.rolloff * np.log2(numbers)) * np.exp(-((2 * numbers / HARMONICS) ** 2))
    gains = gains * np.exp(2j * np.pi * unit.skew * numbers**2 / HARMONICS) / np.sqrt(np.sum(gains**2) / 2)
    turn = np.exp(2j * np.pi * ((pulses + rng.uniform()) % 1)).astype(np.complex64)
    tone = np.zeros_like(turn)
    for gain in gains[::-1].astype(np.complex64):  # Horner's scheme: harmonic n is turn ** n
        if unit.wander:
            gain = gain * np.exp(1j * unit.wander * _slow(len(pulses), 0.15, rng).astype(np.float32))
        tone += gain
        tone *= turn
    return tone.real.astype(float)


def _noise(samples: int, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Draw Gaussian noise of power 1 with a slope of `tilt` dB per octave, flat below 60 Hz."""
    hz = np.maximum(fft.rfftfreq(samples, 1 / RATE), 60)
    response = (hz / 1000) ** (tilt / 6.02)
    response /= np.sqrt(np.mean(response**2))
    return fft.irfft(fft.rfft(rng.standard_normal(samples)) * response, samples)


def _bursts(pulses: np.ndarray, duty: float, scatter: float) -> np.ndarray:
    """Compute a gain of power 1 that swells once per pulse for a share `duty` of its period; `scatter` evens it out."""
    power = np.exp(2 * (np.cos(2 * np.pi * pulses) - 1) / (2 * np.pi * duty) ** 2)
    return np.sqrt((1 - scatter) * power / np.mean(power) + scatter)


def _times(turns: np.ndarray, angles: tuple[float, ...]) -> np.ndarray:
    """Find the samples at which these angles (fractions of a turn) are passed."""
    whole = np.arange(np.floor(turns[0]), np.ceil(turns[-1]) + 1)
    wanted = np.sort(np.add.outer(whole, angles).ravel())
    return np.searchsorted(turns, wanted[(wanted > turns[0]) & (wanted < turns[-1])])


def _strikes(times: np.ndarray, decay: float, bounce: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render short bursts of noise that decay with time constant `decay` in seconds."""
    out = np.zeros(samples + RATE)
    fall = np.exp(-np.arange(int(6 * decay * RATE)) / (decay * RATE))
    for time in times:
        for at, share in ((time, 1 - bounce), (time + int(rng.uniform(0.008, 0.02) * RATE), bounce)):
            out[at : at + len(fall)] += np.sqrt(share) * rng.normal(1, 0.1) * rng.standard_normal(len(fall)) * fall
    return out[:samples]


def _faults(unit: Unit, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Render the sounds of faults common to all machine types, which bypass the casing."""
    sound = np.zeros(samples)
    if unit.hiss:
        sound += unit.hiss * _noise(samples, 3.0, rng)
    if unit.hum:
        sound += unit.hum * sum(_tone(np.full(samples, 100.0 * n)) / n for n in (1, 2, 3, 5))
    return sound


def _ring(sound: np.ndarray, unit: Unit) -> np.ndarray:
    """Filter a force by the casing: the force itself plus second-order resonances."""
    hz = fft.rfftfreq(len(sound), 1 / RATE)
    response = np.ones(len(hz), complex)
    for at, quality, gain in unit.modes:
        ratio = hz / (at * unit.stiffness)
        response += gain / quality * 1j * ratio / (1 - ratio**2 + 1j * ratio / quality)
    return fft.irfft(fft.rfft(sound) * response, len(sound))
