"""Getting a data set, or checking the one that is here."""

from typing import NamedTuple

from omegaconf import DictConfig

from mimii_pl.core.check import check
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._downloadable import Downloadable

WRONG_SHOWN = 10  # files with something wrong


class State(NamedTuple):
    """What is known of one archive: a word for the table, and what is wrong with its files."""

    archive: Archive
    word: str
    files: int | None = None
    wrong: tuple[str, ...] = ()


def download(cfg: DictConfig) -> list[State]:
    """Fetch what is missing of the chosen machines (or, with `verify`, read every file) and show what there is.

    Raises:
        InputError: a data set without archives, one that has none for this machine, damaged files.
    """
    check(cfg)
    data = build(cfg.dataset, machine=cfg.machine.name, protocol=None, features=None)
    if not isinstance(data, Downloadable) or not data.wanted():
        machines = sorted({archive.machine for archive in _of_all(cfg)})
        raise InputError(
            f"dataset={cfg.choices.dataset} has no archive for machine={cfg.machine.name}"
            + (f"; it has: {', '.join(machines)}, all" if machines else "")
        )
    fetched = [] if cfg.verify else data.fetch(data.wanted())
    states = [_state(data, archive, fetched, verify=cfg.verify) for archive in data.wanted()]
    _show(states, data)
    if broken := [state for state in states if state.wrong or state.word == "missing"]:
        names = ", ".join(state.archive.name for state in broken)
        notes = (data.root / "archives").resolve()
        raise InputError(
            f"not whole: {names}. Run download.py without verify=true to fetch what is missing; to fetch an archive "
            f"with changed files again, delete its note in {notes} first"
        )
    return states


def _of_all(cfg: DictConfig) -> list[Archive]:
    data = build(cfg.dataset, machine="all", protocol=None, features=None)
    return data.wanted() if isinstance(data, Downloadable) else []


def _state(data: Downloadable, archive: Archive, fetched: list[Archive], *, verify: bool) -> State:
    if not _archives.is_unpacked(data.root, archive):
        return State(archive, "placed by hand, not checked" if data.by_hand(archive) else "missing")
    if not verify:
        return State(archive, "fetched" if archive in fetched else "here", _archives.count(data.root, archive))
    count, wrong = _archives.verify(data.root, archive)
    return State(archive, f"{len(wrong)} files wrong" if wrong else "whole", count, tuple(wrong))


def _show(states: list[State], data: Downloadable) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("archive", "record", "machine", "state", "files", title=f"{data.root.resolve()}", box=None)
    for state in states:
        archive, files = state.archive, "" if state.files is None else str(state.files)
        table.add_row(archive.name, str(archive.record), archive.machine, state.word, files)
    console = Console()
    console.print(table)
    for state in states:
        for line in state.wrong[:WRONG_SHOWN]:
            console.print(line, soft_wrap=True, markup=False)
        if len(state.wrong) > WRONG_SHOWN:
            console.print(f"... and {len(state.wrong) - WRONG_SHOWN} more of {state.archive.name}")
