"""Alarm rules on simulated scores: false alarms against the promise, and delays of faults by their severity.

A clip lasts 10 s, and a window begins every 5 s. Scores of a healthy machine are normally distributed; they differ from
clip to clip, or drift with a correlation of 0.8 from half a clip to the next. A fault adds its severity, in standard
deviations of these.
"""

import logging

import numpy as np
from _bench import show
from scipy.signal import lfilter

from mimii_pl.live.alarm import AlarmRule, NormalScores
from mimii_pl.live.alarm.cusum import Cusum
from mimii_pl.live.alarm.n_of_m import NOfM
from mimii_pl.live.alarm.simple import Simple
from mimii_pl.live.windows import AlarmLevel, ScoredWindow, WindowState
from mimii_pl.threshold._false_alarms import p_values

CLIP, HOP, RATE = 10.0, 5.0, 16000
DAYS, SETS = 10, 12  # of each held-out set, and their number
PROMISED = 30.0  # false alarms a month
SEVERITIES = (0.5, 1.0, 2.0, 3.0, 5.0)
HOURS, FAULTS = 1, 24  # that a fault lasts, and how many
RULES = {
    "simple, on_delay 30 s": lambda **options: Simple(on_delay=30, **options),
    "n_of_m, 6 of 8": lambda **options: NOfM(**options),
    "cusum": lambda **options: Cusum(**options),
}
CORRELATIONS = {"clip by clip": 0.0, "drifting": 0.8}


def scores(rng: np.random.Generator, count: int, correlation: float) -> np.ndarray:
    """Draw scores of windows that overlap by half, mean 0 and standard deviation 1."""
    halves = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], rng.standard_normal(count + 201))[200:]
    return (halves[1:] + halves[:-1]) / np.sqrt(2 + 2 * correlation)


def held_out(rng: np.random.Generator, clips: int, correlation: float) -> NormalScores:
    """Draw the scores of clips that follow one another."""
    return NormalScores(scores(rng, 2 * clips, correlation)[::2], CLIP)


def changes(rule: AlarmRule, normal: NormalScores, live: np.ndarray) -> list[tuple[int, AlarmLevel]]:
    """Return number of the window and new level of each change, over windows with these scores."""
    found, step = [], round(HOP * RATE)
    for number, (score, p) in enumerate(zip(live, p_values(np.sort(normal.scores), live), strict=True)):
        first = number * step
        window = ScoredWindow(
            first, first + 2 * step, first / RATE, WindowState.RUNNING, score, p, -30.0, float("nan"), float("nan")
        )
        if change := rule.hear(window):
            found.append((number, change.level))
    return found


def raised(found: list[tuple[int, AlarmLevel]]) -> list[int]:
    """Return the windows at which an alarm was raised."""
    return [number for number, level in found if level == AlarmLevel.ALARM]


def false_alarms(name: str, clips: int, correlation: float) -> list[int]:
    """Count false alarms of each held-out set in its days."""
    windows, counts = round(DAYS * 86400 / HOP), []
    for seed in range(SETS):
        rng = np.random.default_rng(seed)
        normal = held_out(rng, clips, correlation)
        rule = RULES[name](false_per_month=PROMISED, warn_per_month=PROMISED).fit(normal, HOP)
        counts.append(len(raised(changes(rule, normal, scores(rng, windows, correlation)))))
    return counts


def delay(name: str, clips: int, severity: float) -> str:
    """Tell the median delay of faults, and the share that is found at all."""
    rng = np.random.default_rng(0)
    normal, windows, delays = held_out(rng, clips, 0.0), round(HOURS * 3600 / HOP), []
    rule = RULES[name]().fit(normal, HOP)
    unheard = rule.state_dict()
    for _ in range(FAULTS):
        rule.load_state_dict(unheard)
        live = scores(rng, 60 + windows, 0.0)
        live[60:] += severity
        delays += [number - 60 for number in raised(changes(rule, normal, live)) if number >= 60][:1]
    if len(delays) < FAULTS / 2:
        return f"{len(delays)} of {FAULTS}"
    seconds = float(np.median([*delays, *[np.inf] * (FAULTS - len(delays))])) * HOP + CLIP
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    rows = []
    for name in RULES:
        for clips in (200, 1000):
            for kind, correlation in CORRELATIONS.items():
                counts = np.array(false_alarms(name, clips, correlation)) * 30 / DAYS
                told = (f"{count:.0f}" for count in (counts.mean(), np.median(counts), counts.max()))
                rows.append([name, clips, kind, *told])
    heads = ["rule", "clips", "scores", "mean", "median", "highest"]
    show(f"false alarms a month, {PROMISED:g} promised: {SETS} held-out sets, {DAYS} days each", heads, rows)
    rows = []
    for name in RULES:
        for clips in (50, 200, 1000):
            rows.append([name, clips, *(delay(name, clips, severity) for severity in SEVERITIES)])
    heads = ["rule", "clips", *(f"{severity:g} sd" for severity in SEVERITIES)]
    show("median delay of an alarm, one false alarm a month promised", heads, rows)
