"""`mimii monitor`: the stations of a process, and the thread that scores their windows together."""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.live.events import EventStore
from mimii_pl.live.model import LiveModel
from mimii_pl.live.output import Delivery
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.station import Station

log = logging.getLogger(__name__)
IDLE_WAIT = 0.2  # s between looks at stations from which nothing comes
SIGNAL_LOOK = 1.0  # s between looks at sources without signal


class Monitor:
    """Scores what its stations hear, until they end or it is stopped.

    Args:
        stations: that are listened to.
        store: of their events.
        delivery: of their messages.
        figures: for Prometheus.
        work: that stations set when a window waits.

    Attributes:
        started: monotonic time of the start in s.
    """

    def __init__(
        self,
        stations: Sequence[Station],
        store: EventStore,
        delivery: Delivery,
        figures: MonitorFigures,
        work: threading.Event,
    ) -> None:
        self.stations, self.store, self.delivery, self.figures = list(stations), store, delivery, figures
        self.started = time.monotonic()
        self.models: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()  # changes of models, between batches
        self._work, self._stopping = work, threading.Event()
        self._lost = dict.fromkeys(range(len(stations)), 0)
        self._first = 0  # station that is asked first

    def stop(self) -> None:
        """Stop soon, from any thread."""
        self._stopping.set()
        self._work.set()

    @property
    def stopping(self) -> threading.Event:
        """Set when it is stopped."""
        return self._stopping

    def run(self) -> None:
        """Listen and score.

        Raises:
            InputError: a source can never be opened.
        """
        self.started = time.monotonic()
        self.delivery.start()
        for station in self.stations:
            station.start()
        ticked = 0.0
        try:
            while not self._stopping.is_set():
                self._work.clear()
                if time.monotonic() - ticked > SIGNAL_LOOK:
                    ticked = time.monotonic()
                    self._look()
                while not self.models.empty():
                    self.models.get()()
                if self._score_some():
                    continue
                if all(station.ended and not station.waits for station in self.stations):
                    self._look()
                    return
                self._work.wait(IDLE_WAIT)
        finally:
            for station in self.stations:
                station.stop()
            for station in self.stations:
                station.join()
                station.close()
            self.delivery.stop()

    def _look(self) -> None:
        for number, station in enumerate(self.stations):
            if station.error is not None:
                raise station.error
            station.look()
            new = station.lost - self._lost[number]
            self._lost[number] += new
            self.figures.dropped.labels(station.setup.machine, station.setup.machine_id).inc(new)

    def _score_some(self) -> bool:
        """Score windows that wait, in one batch for each model; return False if there are none."""
        size = max(station.model.served.batch for station in self.stations)
        share = max(1, size // sum(station.waits for station in self.stations)) if self._any_waits() else 0
        order = self.stations[self._first :] + self.stations[: self._first]
        self._first = (self._first + 1) % len(self.stations)
        taken = [(station, waiting) for station in order for waiting in station.take_waiting(share)] if share else []
        if not taken:
            return False
        groups: dict[int, tuple[LiveModel, list[tuple[Any, int]]]] = {}
        for station, waiting in taken:
            if waiting.judged:
                of_model = groups.setdefault(id(waiting.model.served), (waiting.model, []))[1]
                of_model.append((waiting, station.setup.id_number))
        for model, windows in groups.values():
            for at in range(0, len(windows), model.served.batch):
                model.score(*zip(*windows[at : at + model.served.batch], strict=True))
        for station, waiting in taken:
            station.finish(waiting)
            if waiting.judged:
                names = station.setup.machine, station.setup.machine_id
                self.figures.latency.labels(*names).observe(time.monotonic() - waiting.came)
        return True

    def _any_waits(self) -> bool:
        return any(station.waits for station in self.stations)


@contextmanager
def stopped_by_signals(monitor: Monitor) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C stop a monitor; a second one ends the process."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        monitor.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch_models(monitor: Monitor, newest: Callable[[Station], Callable[[], None] | None], every: float) -> None:
    """Look for other versions of registered models every so many s, until the monitor stops.

    Args:
        newest: returns what puts another model in the place of a station's, or None.
    """
    told = ""
    while not monitor.stopping.wait(every):
        for station in monitor.stations:
            try:
                change = newest(station)
            except Exception as error:  # whatever it is, the model in use goes on
                if one_line(error) != told:
                    log.warning("the model stays: %s", error, exc_info=not isinstance(error, InputError))
                told = one_line(error)
                continue
            told = ""
            if change is not None:
                monitor.models.put(change)
