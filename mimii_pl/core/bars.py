"""Progress bars for the terminal."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def with_bar(items: Sequence[_Item], description: str) -> Iterable[_Item]:
    """Iterate over items with a progress bar that vanishes at the end; none where the output is piped."""
    from rich import get_console
    from rich.progress import track

    # rich leaves a blank line per bar in a file or a pipe
    return track(items, description, transient=True, disable=not get_console().is_interactive)
