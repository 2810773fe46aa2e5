"""Faults of the synthetic machines: each kind turns a `Unit` and a severity into the faulty `Unit`.

Severity 0 is healthy, 1 a typical fault. One kind of each machine type (`PHASE`) leaves the magnitude spectrum of a
64 ms frame almost unchanged and changes the timing within it.
"""

from dataclasses import replace

import numpy as np

from mimii_pl.dataset._synthetic_machines import Unit

PHASE = {"fan": "unbalance", "pump": "contamination", "slider": "loose_belt", "valve": "voltage_change"}


def fan_unbalance(unit: Unit, severity: float) -> Unit:
    """The wheel wobbles: the blades' harmonics lose their phase lock, with little audible ripple."""
    return replace(unit, wander=1.8 * severity, ripple=unit.ripple + 0.2 * severity)


def fan_voltage_change(unit: Unit, severity: float) -> Unit:
    """Low voltage: the wheel turns more slowly and its motor hums at multiples of twice the mains frequency."""
    return replace(unit, speed=unit.speed * (1 - 0.08 * severity), hum=0.75 * severity)


def fan_clogging(unit: Unit, severity: float) -> Unit:
    """Dust on blades and grille: duller tones, more and brighter turbulence, heavier parts that ring lower."""
    return replace(
        unit,
        flow=unit.flow + 5 * severity,
        rolloff=unit.rolloff + 1.5 * severity,
        stiffness=unit.stiffness * (1 - 0.1 * severity),
    )


def pump_leakage(unit: Unit, severity: float) -> Unit:
    """Pressure escapes through a gap that hisses."""
    return replace(unit, hiss=severity)


def pump_contamination(unit: Unit, severity: float) -> Unit:
    """Particles seed bubbles anywhere: as much crackle as before, but no longer in bursts (phase)."""
    return replace(unit, scatter=min(1.0, 0.5 * severity), wander=1.5 * severity)


def pump_clogging(unit: Unit, severity: float) -> Unit:
    """The inlet chokes and roars; the wheel turns more slowly and rings lower."""
    return replace(
        unit,
        speed=unit.speed * (1 - 0.05 * severity),
        hiss=0.6 * severity,
        stiffness=unit.stiffness * (1 - 0.1 * severity),
    )


def slider_rail_damage(unit: Unit, severity: float) -> Unit:
    """A notch in the rail knocks at the same position in both directions; cracked parts ring lower."""
    return replace(unit, knock=10 * severity, stiffness=unit.stiffness * (1 - 0.09 * severity))


def slider_loose_belt(unit: Unit, severity: float) -> Unit:
    """Teeth mesh late or early: the tones keep their level and lose their phase lock."""
    return replace(unit, wander=1.8 * severity, stiffness=unit.stiffness * (1 - 0.02 * severity))


def slider_no_grease(unit: Unit, severity: float) -> Unit:
    """Dry friction: rougher, brighter and squealing."""
    return replace(unit, hiss=0.7 * severity, squeal=0.5 * severity, flow=unit.flow + 2 * severity)


def valve_contamination(unit: Unit, severity: float) -> Unit:
    """Dirt in the seat: the plunger lands more softly and for longer, and the parts ring lower."""
    return replace(
        unit,
        duty=unit.duty * (1 + 2 * severity),
        stiffness=unit.stiffness * (1 - 0.1 * severity),
        flow=unit.flow + 2 * severity,
    )


def valve_leakage(unit: Unit, severity: float) -> Unit:
    """Fluid leaks while the valve is closed."""
    return replace(unit, hiss=0.35 * severity)


def valve_voltage_change(unit: Unit, severity: float) -> Unit:
    """A weak solenoid: each click splits into two strikes a few milliseconds apart (phase)."""
    return replace(unit, bounce=min(0.5, 0.5 * severity))


FAULTS = {
    "fan": {"unbalance": fan_unbalance, "voltage_change": fan_voltage_change, "clogging": fan_clogging},
    "pump": {"leakage": pump_leakage, "contamination": pump_contamination, "clogging": pump_clogging},
    "slider": {"rail_damage": slider_rail_damage, "loose_belt": slider_loose_belt, "no_grease": slider_no_grease},
    "valve": {"contamination": valve_contamination, "leakage": valve_leakage, "voltage_change": valve_voltage_change},
}


def break_down(machine: str, unit: Unit, severity: float, index: int, rng: np.random.Generator) -> Unit:
    """Make the unit of an anomalous clip: kinds alternate with `index`, and each fault has its own severity."""
    return FAULTS[machine][kind(machine, index)](unit, severity * rng.uniform(0.6, 1.4))


def kind(machine: str, index: int) -> str:
    """Return the kind of fault in the anomalous clip of this number."""
    return list(FAULTS[machine])[index % len(FAULTS[machine])]
