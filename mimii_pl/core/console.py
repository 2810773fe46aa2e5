"""The console that tables and lines are printed on."""

from typing import Any

import rich.console


class Console(rich.console.Console):  # noqa: TID251
    """rich's console without its markup: a bracket or a colon in a name is printed as it stands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)
