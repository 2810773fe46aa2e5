"""Pages are made of templates: every value is escaped, and a missing one is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from mimii_pl.report.tables import number


def template(name: str) -> Template:
    """The template of that name in this folder; the filter `number` writes a metric."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    return environment.get_template(name)
