"""A monitor as its page shows it: plain values, numbers that are none as null."""

import math
import os
import platform
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mimii_pl import __version__
from mimii_pl.live._trends import TrendPoint
from mimii_pl.live.alarm import AlarmRule
from mimii_pl.live.alarm._counted import CountedRule
from mimii_pl.live.alarm.cusum import Cusum
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.station import Station
from mimii_pl.live.windows import AlarmLevel, ScoredWindow

PACKAGES = ("torch", "onnxruntime", "numpy", "fastapi", "uvicorn")  # whose versions are shown
INTERRUPTED = 3  # times the usual time between points, after which a curve is interrupted
NOT_YET = "waiting"  # state of a station before its first window


def station_facts(station: Station) -> dict[str, Any]:
    """Describe a station for the live view: names, and what its scores are compared with."""
    rule, setup = station.keeper.rule, station.setup
    thresholds = station.model.served.scorer.thresholds
    assert thresholds is not None
    return {
        "machine": setup.machine,
        "machine_id": setup.machine_id,
        "threshold": plain(station.threshold),
        "limits": score_limits(rule, thresholds.normal_of(station.model.label(setup.id_number))),
        "sums": {level.name.lower(): limit for level, limit in rule.limits.items()}
        if isinstance(rule, Cusum)
        else None,
        "hop": setup.hop,
    }


def model_labels(stations: list[Station]) -> dict[tuple[str, str], str]:
    """Return the machine IDs that models know, `fan/id_00`, by the names of their stations."""
    return {
        (station.setup.machine, station.setup.machine_id): station.model.label(station.setup.id_number)
        for station in stations
    }


def window_facts(station: Station, window: ScoredWindow) -> dict[str, Any]:
    """Describe a window, and the level of alarm after it."""
    rule, event = station.keeper.rule, station.keeper.event
    seconds = (window.end - window.first) / (station.keeper.rate or 1)
    return {
        "at": round(window.at + seconds, 3),
        "state": window.state.value,
        "score": plain(window.score),
        "p": plain(window.p_value),
        "level": plain(window.level),
        "alarm": int(station.level),
        "sum": plain(rule.sum) if isinstance(rule, Cusum) else None,
        "event": event.id if event else None,
    }


def score_limits(rule: AlarmRule, normal: np.ndarray) -> dict[str, float] | None:
    """Return the scores above which windows count for a level; None if its limits are not of single windows.

    Args:
        rule: fitted.
        normal: held-out normal scores that p-values rest on, ascending.
    """
    if not isinstance(rule, CountedRule):
        return None
    most = {level: math.floor(limit * (len(normal) + 1) + 1e-9) - 1 for level, limit in rule.limits.items()}
    return {level.name.lower(): float(normal[-1 - count]) for level, count in most.items() if 0 <= count < len(normal)}


def trend_facts(points: list[TrendPoint]) -> dict[str, list]:
    """Turn the points of a trend into columns, with an empty point where time passed without a window."""
    names = ("at", "score", "score_max", "p_value", "level", "alarm")
    columns: dict[str, list] = {name: [] for name in names}
    apart = float(np.median(np.diff([point.at for point in points]))) if len(points) > 1 else 0.0
    before: TrendPoint | None = None
    for point in points:
        if before is not None and point.at - before.at > INTERRUPTED * apart:
            for name in names:
                columns[name].append(before.at + before.seconds if name == "at" else None)
        for name in names:
            value = getattr(point, name)
            columns[name].append(int(value) if name == "alarm" else plain(value))
        before = point
    return columns


def health_facts(stations: list[Station], figures: MonitorFigures) -> list[dict[str, Any]]:
    """Describe how well each station is heard and scored."""
    told = []
    for station in stations:
        names = {"machine": station.setup.machine, "machine_id": station.setup.machine_id}
        total, count = (
            figures.registry.get_sample_value(f"mimii_latency_seconds_{part}", names) or 0 for part in ("sum", "count")
        )
        served = station.model.served
        counts = {state.value: count for state, count in list(station.counts.items()) if count}
        told.append(
            {
                **names,
                "source": station.source.name,
                "connected": station.connected,
                "state": state_of(station),
                "rate": station.source.rate,
                "seconds": station.seconds,
                "windows": counts,
                "dropped": station.dropped,
                "gaps": station.gaps,
                "lost": station.lost,
                "reconnects": station.reconnects,
                "latency": total / count if count else None,
                "model": served.name,
                "fingerprint": served.fingerprint,
                "engine": served.engine,
                "since": served.since,
                "rule": station.keeper.rule.promise,
                "level": station.level.name.lower(),
            }
        )
    return told


def process_facts(folder: Path, figures: MonitorFigures) -> dict[str, str]:
    """Describe the process, its disk and its versions, in words.

    Args:
        folder: of the events.
    """
    disk = shutil.disk_usage(folder)
    used = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # deleted meanwhile
            used += path.stat().st_size
    queued = figures.registry.restricted_registry(["mimii_queued_messages"]).collect()
    waiting = sum(sample.value for metric in queued for sample in metric.samples)
    told = {
        "Messages that wait": f"{waiting:.0f}",
        "Memory": _resident(),
        "Events, sound": f"{used / 1e6:.1f} MB",
        "Free on this disk": f"{disk.free / 1e9:.1f} GB of {disk.total / 1e9:.0f} GB",
        "Load": ", ".join(f"{load:.2f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "",
        "mimii_pl": __version__,
        "Python": platform.python_version(),
    }
    for name in PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return {name: value for name, value in told.items() if value}


def _resident() -> str:
    """Return the memory in use, where the system tells it as Linux does."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return ""
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f} MB"


def plain(value: float) -> float | None:
    """Return a number as JSON has it; None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def level_name(level: int) -> str:
    """Return the name of a level of alarm."""
    return AlarmLevel(level).name.lower()


def state_of(station: Station) -> str:
    """Return the state of a station in a word."""
    if station.ended:
        return "ended"
    return station.state.value if station.state else NOT_YET
