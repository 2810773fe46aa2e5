"""Load the templates of pages: every value is escaped, and a missing one is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from mimii_pl.report.tables import number


def template(name: str) -> Template:
    """Load a template of this folder by name; its filter `number` formats a metric."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(name)
