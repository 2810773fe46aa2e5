"""Windows, levels and spectra to any number of browsers, as server-sent events; scoring waits for none of them."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mimii_pl.core.errors import one_line
from mimii_pl.live.page.facts import plain, state_of, station_facts, window_facts
from mimii_pl.live.page.spectrum import RollingSpectrogram
from mimii_pl.live.station import RECENT, Station
from mimii_pl.live.windows import AlarmChange, ScoredWindow

log = logging.getLogger(__name__)
MOST_CLIENTS_FED = 100
MOST_MESSAGES = 40  # that wait for a client; one that is slower gets the latest windows anew
FEW = 150  # windows of each station for a page that shows all of them
FEED_PERIOD = 0.25  # s between messages


class FeedClient:
    """The messages that wait for a browser.

    Args:
        station: number of the one whose spectra it shows; None: none.
    """

    def __init__(self, station: int | None) -> None:
        self.station, self.late, self.has_spectra = station, True, False  # late: needs all recent windows
        self.closed = False
        self._messages: deque[bytes] = deque()
        self._ready = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Let a message wait; if too many do, they are dropped, and `late` is set."""
        if len(self._messages) >= MOST_MESSAGES:
            self._messages.clear()
            self.late, self.has_spectra = True, False
        self._messages.append(message)
        self._ready.set()

    def close(self) -> None:
        """End it, after what waits."""
        self.closed = True
        self._ready.set()

    async def take(self) -> bytes:
        """Wait for messages, and return all of them."""
        await self._ready.wait()
        self._ready.clear()
        found = b"".join(self._messages)
        self._messages.clear()
        return found


class PageFeed:
    """Hears the stations, and feeds the clients, in the event loop of the page.

    Args:
        stations: of the monitor.
        started: unix time of its start in s, by which a page tells that it is another one.
    """

    def __init__(self, stations: Sequence[Station], started: float) -> None:
        self.stations, self.started = list(stations), started
        self.clients: set[FeedClient] = set()
        self.recent: list[deque[dict[str, Any]]] = [deque(maxlen=RECENT) for _ in stations]
        self._heard: deque[tuple[Station, dict[str, Any], bool]] = deque(maxlen=RECENT * len(self.stations))
        self._spectra = [RollingSpectrogram(station) for station in stations]
        self._numbers = {id(station): number for number, station in enumerate(stations)}
        self._loop: asyncio.AbstractEventLoop | None = None
        for station in stations:
            station.listeners.append(self._hear)

    def _hear(self, station: Station, window: ScoredWindow, change: AlarmChange | None) -> None:
        """Note a window, in the thread that scores."""
        self._heard.append((station, window_facts(station, window), change is not None))

    # --- the event loop ----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Pass on what was heard, levels, and the spectra that are looked at, until it is cancelled."""
        self._loop, told = asyncio.get_running_loop(), ""
        while True:
            await asyncio.sleep(FEED_PERIOD)
            try:
                await self._pass_on()
            except Exception as fault:  # whatever it is, the page goes on
                if one_line(fault) != told:
                    log.exception("the page")
                told = one_line(fault)

    async def _pass_on(self) -> None:
        heard = self._take_heard()
        if not self.clients:
            return
        everything = b"".join(heard.values())
        meters = server_sent("meters", [[plain(one.meter), state_of(one)] for one in self.stations])
        for client in self.clients:
            if client.late:
                client.late = False
                client.put(self._greeting(client.station) + meters)
            else:
                client.put((everything if client.station is None else heard.get(client.station, b"")) + meters)
        for number in {client.station for client in self.clients if client.station is not None}:
            await self._feed_spectra(number)

    def _take_heard(self) -> dict[int, bytes]:
        """Remember the windows that were heard; return them by station, as messages."""
        messages: dict[int, list[bytes]] = {}
        while self._heard:
            station, told, changed = self._heard.popleft()
            number = self._numbers[id(station)]
            self.recent[number].append(told)
            if self.clients:
                own = messages.setdefault(number, [])
                own.append(server_sent("window", {"station": number, **told}))
                if changed:
                    began = {"station": number, "alarm": told["alarm"], "event": told["event"]}
                    own.append(server_sent("event", began))
        return {number: b"".join(own) for number, own in messages.items()}

    async def _feed_spectra(self, number: int) -> None:
        spectra = self._spectra[number]
        new = await asyncio.to_thread(spectra.update)
        whole = None
        for client in [client for client in self.clients if client.station == number]:
            if client.has_spectra:
                if new:
                    client.put(server_sent("spectra", new))
            elif whole := whole or spectra.kept():
                client.put(server_sent("spectra", whole))
                client.has_spectra = True

    def _greeting(self, station: int | None) -> bytes:
        """Return what a page needs to begin with: all stations, and the recent windows, of one or of all."""
        wanted, most = (range(len(self.stations)), FEW) if station is None else ([station], RECENT)
        return server_sent(
            "hello",
            {
                "started": self.started,
                "stations": [station_facts(one) for one in self.stations],
                "recent": {number: list(self.recent[number])[-most:] for number in wanted},
            },
        )

    def close(self) -> None:
        """Say goodbye to all clients, from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        for client in self.clients:
            client.close()


def server_sent(name: str, content: Any) -> bytes:
    """Encode an event.

    >>> server_sent("window", {"score": 1.5})
    b'event: window\\ndata: {"score":1.5}\\n\\n'
    """
    return f"event: {name}\ndata: {json.dumps(content, allow_nan=False, separators=(',', ':'))}\n\n".encode()
