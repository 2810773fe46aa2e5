"""False alarms to expect of the thresholds of a run, as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimii_pl.core.run_dir import read_facts
from mimii_pl.report.grid import Grid
from mimii_pl.threshold._threshold import POOLED, Thresholds

COLUMN_HEADS = ("machine ID", "held-out clips", "above", "at most one in", "95 %: one in", "a day (95 %)")


def false_alarm_grid(run_dir: Path) -> Grid | None:
    """Tell per machine ID how many normal clips will be called anomalous, in clips and per day.

    Returns:
        None for a run without thresholds, or of a version that did not note its sampling frequency.
    """
    facts, kept = read_facts(run_dir), run_dir / "thresholds.json"
    if "sample_rate" not in facts or not kept.is_file():
        return None
    thresholds, seconds = Thresholds.read(kept), clip_seconds(facts)
    rows: list[tuple[str, ...]] = []
    for label in [name for name in thresholds.labels if name in thresholds.normal] or [POOLED]:
        alarms = thresholds.false_alarms(label)
        low, high = alarms.interval
        interval = f"{1 / high:,.0f} to {f'{1 / low:,.0f}' if low else 'never'}"
        counts = str(alarms.held_out), str(alarms.above)
        rows.append((label.replace("/", " "), *counts, f"{1 / alarms.rate:.1f}", interval, alarms.per_day(seconds)))
    note = (
        f"Normal clips called anomalous, as far as the held-out normal clips can tell, if new clips resemble them; a "
        f"day: of a healthy machine with a clip every {seconds:.4g} s. At most: (clips above the threshold + 1) / "
        "(held-out clips + 1)."
    )
    if pooled := len(thresholds.labels) - len(rows):
        note += f" {pooled} machine IDs with too few clips of their own use the threshold of all together."
    return Grid("False alarms to expect", COLUMN_HEADS, rows, note, ranked=False)


def clip_seconds(facts: Mapping[str, Any]) -> float:
    """Return the length of a run's clips in s."""
    return facts["samples"] / facts["sample_rate"]
