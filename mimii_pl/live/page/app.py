"""The addresses of the page of a monitor."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp

from mimii_pl import __version__
from mimii_pl.core.errors import InputError
from mimii_pl.live.events import EventStore, StoredEvent
from mimii_pl.live.marks import marks_table, zipped_marks
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.page.access import PageAccess
from mimii_pl.live.page.facts import model_labels, trend_facts
from mimii_pl.live.page.feed import MOST_CLIENTS_FED, FeedClient, PageFeed
from mimii_pl.live.page.forms import read_form
from mimii_pl.live.page.stream import EventStream
from mimii_pl.live.page.views import PAGE_FOLDER, event_values, existing_event, health_values, page_templates

Number = Annotated[int, PathParameter(ge=0, lt=1 << 63)]  # of an event
TREND_SPANS = {"6 h": 6 * 3600, "day": 86400, "week": 7 * 86400, "30 days": 30 * 86400, "year": 365 * 86400}  # s
EVENTS_SHOWN = 50  # of a page of events
EVENTS_LATEST = 8  # beside machines


def make_page(feed: PageFeed, store: EventStore, figures: MonitorFigures, token: str | None = None) -> ASGIApp:
    """Make the application.

    Args:
        feed: of the monitor's stations.
        store: of their events, opened for the page alone: its readers hold up no writer.
        figures: of the monitor.
        token: that browsers and programs must send; None: whoever is at this computer may look.
    """
    pages = page_templates()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.ensure_future(feed.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="mimii_pl monitor", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=PAGE_FOLDER / "static"))

    @app.exception_handler(InputError)
    async def refuse(_: Request, fault: InputError) -> PlainTextResponse:
        return PlainTextResponse(str(fault), 422)

    def show(name: str, **values: Any) -> HTMLResponse:
        stations = [(station.setup.machine, station.setup.machine_id) for station in feed.stations]
        return HTMLResponse(pages.get_template(f"{name}.html.j2").render(stations=stations, **values))

    def names_of(number: int | None) -> tuple[str, str] | tuple[None, None]:
        """Return the names of a station, as the store asks for them; None: of all."""
        if number is None:
            return None, None
        if not 0 <= number < len(feed.stations):
            raise HTTPException(404, f"there is no machine {number}")
        setup = feed.stations[number].setup
        return setup.machine, setup.machine_id

    def latest_of(number: int | None) -> list[StoredEvent]:
        machine, machine_id = names_of(number)
        return store.events(machine=machine, machine_id=machine_id, limit=EVENTS_LATEST)

    # --- pages -------------------------------------------------------------------------------------------------------
    @app.get("/", include_in_schema=False)
    def machines() -> HTMLResponse:
        return show("machines", events=latest_of(None))

    @app.get("/machines/{number}", include_in_schema=False)
    def machine(number: int) -> HTMLResponse:
        return show("machine", number=number, names=names_of(number), spans=TREND_SPANS, events=latest_of(number))

    @app.get("/events", include_in_schema=False)
    def events(machine: int | None = None, marked: bool | None = None, until: float | None = None) -> HTMLResponse:
        before = math.inf if until is None else until
        name, machine_id = names_of(machine)
        found = store.events(machine=name, machine_id=machine_id, marked=marked, until=before, limit=EVENTS_SHOWN + 1)
        shown = found[:EVENTS_SHOWN]
        older = shown[-1].start if len(found) > EVENTS_SHOWN else None
        return show("events", events=shown, older=older, machine=machine, marked=marked)

    @app.get("/events/latest", include_in_schema=False)
    def latest(machine: int | None = None) -> HTMLResponse:
        return show("_events", events=latest_of(machine))

    @app.get("/events/{number}", include_in_schema=False)
    def event(number: Number) -> HTMLResponse:
        return show("event", **event_values(store, number))

    @app.get("/health", include_in_schema=False)
    def health() -> HTMLResponse:
        return show("health", **health_values(feed, store, figures))

    # --- what they show ----------------------------------------------------------------------------------------------
    @app.get("/stream")
    async def stream(station: int | None = None) -> Response:
        """Send `hello` (stations, recent windows), `window`, `event`, `meters` and, of one station, `spectra`."""
        names_of(station)
        if len(feed.clients) >= MOST_CLIENTS_FED:
            return PlainTextResponse(f"{MOST_CLIENTS_FED} browsers look on already", 503, {"Retry-After": "10"})
        return EventStream(feed, FeedClient(station))

    @app.get("/machines/{number}/trend")
    def trend(number: int, span: float = 86400, until: float | None = None) -> JSONResponse:
        """Return the history of a machine as columns.

        - **span**: s, up to **until** (unix time; now if not given)
        """
        end = time.time() if until is None else until
        machine, machine_id = names_of(number)
        return JSONResponse(trend_facts(store.trends.read(machine or "", machine_id or "", end - span, end)))

    @app.get("/events/{number}/sound.flac")
    def sound(number: Number) -> Response:
        """Return the sound of an event, with what was heard before and after."""
        return _file(store.sound_path(number), "audio/flac", f"event_{number}.flac")

    @app.get("/events/{number}/spectrogram.png")
    def spectrogram(number: Number) -> Response:
        """Return the spectrogram of an event: time to the right, 0 Hz to half the rate upwards, without axes."""
        return _file(store.spectrogram_path(number), "image/png", f"event_{number}.png")

    @app.post("/events/{number}/acknowledge")
    def acknowledge(number: Number) -> Response:
        """Note that a person has seen an event."""
        existing_event(store, number)
        store.acknowledge(number)
        return RedirectResponse(f"/events/{number}", 303)

    @app.post("/events/{number}/mark")
    async def mark(number: Number, request: Request) -> Response:
        """Store what a person says of an event: a form with `mark` (normal, fault, unsure or empty) and `note`."""
        form = await read_form(request)
        await asyncio.to_thread(_mark, store, number, form)
        return RedirectResponse(f"/events/{number}", 303)

    @app.get("/labels.csv")
    def labels() -> Response:
        """Return all marks as a table; text that a spreadsheet would run begins with an apostrophe."""
        headers = {"Content-Disposition": 'attachment; filename="labels.csv"'}
        return Response(marks_table(store), media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/marks.zip")
    def marked() -> StreamingResponse:
        """Return the sound of the events that are marked normal or fault, and a table that `mimii update` reads."""
        headers = {"Content-Disposition": 'attachment; filename="marks.zip"'}
        file = zipped_marks(store, model_labels(feed.stations))
        return StreamingResponse(_parts(file), media_type="application/zip", headers=headers)

    @app.get("/metrics")
    def metrics() -> Response:
        """Return the figures of the monitor, for Prometheus."""
        return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "alive"}

    return PageAccess(app, token, pages.get_template("login.html.j2"))


def _mark(store: EventStore, number: int, form: Mapping[str, str]) -> StoredEvent:
    existing_event(store, number)
    if "mark" not in form:
        raise HTTPException(422, "send a form with mark (normal, fault, unsure; empty takes it back) and note")
    return store.mark(number, form["mark"], form.get("note", "").replace("\r\n", "\n"))


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from iter(lambda: file.read(1 << 16), b"")


def _file(path: Path | None, kind: str, name: str) -> Response:
    if path is None:
        raise HTTPException(404, "there is no such file, or none any more")
    return FileResponse(path, media_type=kind, filename=name, content_disposition_type="inline")
