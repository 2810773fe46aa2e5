"""The templates of the page: every value is escaped, and a missing one is an error."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mimii_pl.live.events import EVENT_MARKS, LONGEST_NOTE
from mimii_pl.live.page.facts import level_name

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
