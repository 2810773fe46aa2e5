"""The console: names are printed as they stand, whatever brackets and colons they have."""

import pytest
from rich.table import Table

from mimii_pl.core.console import Console
from mimii_pl.report.grid import Grid, to_rich

NAMES = ("r[old]", "[/x]", "[bold]a[/bold]", ":fan:", "\\[b]", "[link=file:///x]y")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_markup(name, capsys):
    console = Console(width=200)
    console.print(f"run: {name}")
    console.print(Table(name, title=name, caption=name))
    console.print(to_rich(Grid(name, ("head",), [(name,)], note=name)))
    assert capsys.readouterr().out.count(name) == 7
