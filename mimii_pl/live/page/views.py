"""The templates of the page, in which every value is escaped and a missing one is an error, and what they show."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mimii_pl.core.errors import InputError
from mimii_pl.live.events import EVENT_MARKS, LONGEST_NOTE, EventStore, StoredEvent
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.page.facts import health_facts, level_name, process_facts
from mimii_pl.live.page.feed import PageFeed

HEALTH_SHOWN = 200  # lines
PAGE_FOLDER = Path(__file__).parent


def page_templates() -> Environment:
    """Load the templates of this folder."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(PAGE_FOLDER / "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(marks=EVENT_MARKS, longest_note=LONGEST_NOTE)
    environment.filters.update(level=level_name, moment=_moment, length=_length, figure=_figure)
    return environment


def existing_event(store: EventStore, number: int) -> StoredEvent:
    """Return an event; there is none: 404."""
    try:
        return store.event(number)
    except InputError as fault:
        raise HTTPException(404, str(fault)) from None


def event_values(store: EventStore, number: int) -> dict[str, Any]:
    """Return what the page of an event shows."""
    event = existing_event(store, number)
    older, newer = store.neighbours(event)
    return {
        "event": event,
        "has_sound": store.sound_path(number) is not None,
        "has_spectrogram": store.spectrogram_path(number) is not None,
        "newer": newer,
        "older": older,
    }


def health_values(feed: PageFeed, store: EventStore, figures: MonitorFigures) -> dict[str, Any]:
    """Return what the page on the health of a monitor shows."""
    return {
        "told": health_facts(feed.stations, figures),
        "process": process_facts(store.folder, figures),
        "running": time.time() - feed.started,
        "lines": store.health(limit=HEALTH_SHOWN),
        "browsers": len(feed.clients),
    }


# --- filters ---------------------------------------------------------------------------------------------------------
def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _length(seconds: float) -> str:
    """Spell a length of time.

    >>> _length(4.25), _length(75), _length(8000), _length(200000)
    ('4.2 s', '1 min 15 s', '2 h 13 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}g}"
