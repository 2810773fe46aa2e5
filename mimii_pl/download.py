"""Getting a data set, or checking the one that is here."""

from typing import NamedTuple

from omegaconf import DictConfig

from mimii_pl import _config
from mimii_pl._check import check
from mimii_pl.dataset import _archives
from mimii_pl.dataset._published import Archive, Published
from mimii_pl.errors import InputError

SHOWN = 10  # files with something wrong


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
    sounds = _config.build(cfg.dataset, machine=cfg.machine.name, protocol=None, features=None)
    if not isinstance(sounds, Published) or not sounds.wanted():
        machines = sorted({archive.machine for archive in _of_all(cfg)})
        raise InputError(
            f"dataset={cfg.choices.dataset} has no archive for machine={cfg.machine.name}"
            + (f"; it has: {', '.join(machines)}, all" if machines else "")
        )
    fetched = [] if cfg.verify else sounds.fetch(sounds.wanted())
    states = [_state(sounds, archive, fetched, verify=cfg.verify) for archive in sounds.wanted()]
    _show(states, sounds)
    if broken := [state for state in states if state.wrong or state.word == "missing"]:
        names = ", ".join(state.archive.name for state in broken)
        notes = (sounds.root / "archives").resolve()
        raise InputError(
            f"not whole: {names}. Run download.py without verify=true to fetch what is missing; to fetch an archive "
            f"with changed files again, delete its note in {notes} first"
        )
    return states


def _of_all(cfg: DictConfig) -> list[Archive]:
    sounds = _config.build(cfg.dataset, machine="all", protocol=None, features=None)
    return sounds.wanted() if isinstance(sounds, Published) else []


def _state(sounds: Published, archive: Archive, fetched: list[Archive], *, verify: bool) -> State:
    if not _archives.is_unpacked(sounds.root, archive):
        return State(archive, "placed by hand, not checked" if sounds.by_hand(archive) else "missing")
    if not verify:
        return State(archive, "fetched" if archive in fetched else "here", _archives.count(sounds.root, archive))
    count, wrong = _archives.verify(sounds.root, archive)
    return State(archive, f"{len(wrong)} files wrong" if wrong else "whole", count, tuple(wrong))


def _show(states: list[State], sounds: Published) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("archive", "record", "machine", "state", "files", title=f"{sounds.root.resolve()}", box=None)
    for state in states:
        archive, files = state.archive, "" if state.files is None else str(state.files)
        table.add_row(archive.name, str(archive.record), archive.machine, state.word, files)
    console = Console()
    console.print(table)
    for state in states:
        for line in state.wrong[:SHOWN]:
            console.print(line, soft_wrap=True, markup=False)
        if len(state.wrong) > SHOWN:
            console.print(f"... and {len(state.wrong) - SHOWN} more of {state.archive.name}")
