"""The terminal of a monitor: a line per station that is written anew, and a table at the end."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table
from rich.text import Text

from mimii_pl.core.console import Console
from mimii_pl.core.foreign import printable
from mimii_pl.live.monitor import Monitor
from mimii_pl.live.station import Station
from mimii_pl.live.windows import AlarmLevel, WindowState

REFRESH = 4  # times a second
METER = 20  # columns of the level meter, 3 dB each
COLOURS = {AlarmLevel.NORMAL: "green", AlarmLevel.WARN: "yellow", AlarmLevel.ALARM: "bold red"}
log = logging.getLogger(__name__)


@contextmanager
def shown(monitor: Monitor) -> Iterator[None]:
    """Show the stations while a monitor runs; where the output is no terminal, the log alone tells what changes."""
    from rich import get_console

    names = ", ".join(f"{_name(station)} ({station.source.name})" for station in monitor.stations)
    log.info("listening to %s, until the end, SIGTERM or Ctrl-C", names)
    if not get_console().is_interactive:
        yield
        return
    ended = threading.Event()
    with Live(_lines(monitor), console=get_console(), auto_refresh=False) as live:

        def refresh() -> None:
            while not ended.wait(1 / REFRESH):
                live.update(_lines(monitor), refresh=True)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            live.update(_lines(monitor), refresh=True)


def _lines(monitor: Monitor) -> Table:
    table = Table("machine", "state", "level", "", "score", "threshold", "p", "alarm", "events", box=None)
    for station in monitor.stations:
        latest = station.recent[-1] if station.recent else None
        state = station.state.value if station.state else "waits" if station.connected else "not connected"
        known = latest is not None and not math.isnan(latest.score)
        table.add_row(
            Text(_name(station)),
            Text(state, "" if station.state is WindowState.RUNNING else "yellow"),
            _decibels(station.meter),
            _meter(station.meter),
            f"{latest.score:.4g}" if latest and known else "-",
            f"{station.threshold:.4g}",
            f"{latest.p_value:.3g}" if latest and known else "-",
            Text(station.level.name.lower(), COLOURS[station.level]),
            str(station.events),
        )
    return table


def _name(station: Station) -> str:
    return printable(f"{station.setup.machine} {station.setup.machine_id}".strip())


def _decibels(level: float) -> str:
    return "-" if math.isnan(level) else f"{level:.0f} dB"


def _meter(level: float) -> Text:
    full = 0 if math.isnan(level) else round(min(METER, max(0.0, METER + level / 3)))
    return Text("█" * full + "·" * (METER - full), "cyan")


def print_summary(monitor: Monitor) -> None:
    """Print the windows of each station by their state, what was lost, events, and the speed."""
    elapsed = max(1e-9, time.monotonic() - monitor.started)
    table = Table("machine", box=None)
    states = [state for state in WindowState if any(station.counts[state] for station in monitor.stations)]
    for heading in (*(state.value.replace("_", " ") for state in states), "dropped", "gaps", "samples lost", "events"):
        table.add_column(heading, justify="right")
    table.add_column("heard", justify="right")
    table.add_column("speed", justify="right")
    for station in monitor.stations:
        table.add_row(
            Text(_name(station)),
            *(str(station.counts[state]) for state in states),
            str(station.dropped),
            str(station.gaps),
            str(station.lost),
            str(station.events),
            _time(station.seconds),
            f"{station.seconds / elapsed:.3g} x",
        )
    Console().print(table)


def _time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
