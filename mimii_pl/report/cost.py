"""Costs of a run as text: names, units and digits, in one place for every table that shows them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MISSING = "-"
COST_NOTE = (
    "MACs: multiply-accumulates of the detector (its matrix products and convolutions), features and back end not "
    "counted. Times per clip: from waveform to score, features and back end included."
)


class Cost(NamedTuple):
    """A cost in run.json: the head of its column, a description, and a function that formats it with its unit."""

    head: str
    description: str
    show: Callable[[float], str]


def digits(value: float) -> str:
    """Format with three significant digits, or all digits of a longer whole part: `0.0512`, `4.13`, `1559`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def scaled(unit: str) -> Callable[[float], str]:
    """Return a formatter with SI prefixes: 81635328 -> `81.6 MMAC`; without a unit, `81.6M`."""

    def show(value: float) -> str:
        power = 0 if value < 1000 else min(4, int(math.log10(value) / 3))
        number = f"{value:.0f}" if power == 0 else digits(value / 1000**power)
        space = " " if unit else ""
        return f"{number}{space}{['', 'k', 'M', 'G', 'T'][power]}{unit}"

    return show


def _with(unit: str, factor: float = 1) -> Callable[[float], str]:
    return lambda value: f"{digits(value * factor)}{unit}"


COSTS = {  # by key of run.json and column of leaderboard.csv, which hold plain numbers
    "parameters": Cost("params", "parameters of the detector", scaled("")),
    "size_bytes": Cost("size", "size on disk: checkpoint, back end, feature statistics", scaled("B")),
    "train_seconds": Cost("training", "training, all epochs", _with(" s")),
    "seconds_per_epoch": Cost("per epoch", "training, per epoch with its validation", _with(" s")),
    "peak_memory_bytes": Cost("memory", "peak memory of the run", _with(" MiB", 2**-20)),
    "macs": Cost("MACs/clip", "multiply-accumulates of the detector per clip", scaled("MAC")),
    "ms_per_clip": Cost("alone", "scoring a clip alone, from waveform to score", _with(" ms")),
    "ms_per_clip_best_batch": Cost("in a batch", "scoring a clip in the fastest batch", _with(" ms")),
    "best_batch": Cost("batch", "clips in the fastest batch", scaled("")),
    "clips_per_second": Cost("clips/s", "clips per second in such batches", _with("")),
}
TRAINING_FIGURES = ("parameters", "size_bytes", "train_seconds", "seconds_per_epoch", "peak_memory_bytes")
SCORING_FIGURES = ("macs", "ms_per_clip", "ms_per_clip_best_batch", "best_batch", "clips_per_second")


def cost_cell(name: str, value: float | None) -> str:
    """Format a cost with its unit; `-` where it was not measured (None, NaN)."""
    return MISSING if value is None or math.isnan(value) else COSTS[name].show(value)


def cost_cells(facts: Mapping[str, Any]) -> dict[str, str]:
    """Format every cost of run.json, by name."""
    return {name: cost_cell(name, facts.get(name)) for name in COSTS}


def cost_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return description and text of every cost of a run; empty for runs recorded before costs were measured."""
    costs = [(COSTS[name].description, text) for name, text in cost_cells(facts).items()]
    return [("device", facts["device"]), *costs] if "device" in facts else []


def cost_lines(facts: Mapping[str, Any]) -> str:
    """Format the costs of one run that were measured, for the terminal: a line for training, a line for scoring."""
    texts = {name: text for name, text in cost_cells(facts).items() if text != MISSING}
    lines = []
    for head, names in (("training", TRAINING_FIGURES), (" scoring", SCORING_FIGURES)):
        if measured := [f"{COSTS[name].head} {texts[name]}" for name in names if name in texts]:
            lines.append(f"{head}: {', '.join(measured)}")
    device = f", on {facts['device']}" if lines and facts.get("device") else ""
    return "\n".join(lines) + device
