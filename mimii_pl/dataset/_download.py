"""The command `mimii download`: fetch a data set, or verify the one on disk."""

from typing import NamedTuple

from omegaconf import DictConfig

from mimii_pl.core.check import check
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._downloadable import Downloadable

FAULTS_SHOWN = 10  # faulty files listed per archive


class ArchiveState(NamedTuple):
    """State of one archive on disk.

    Attributes:
        archive: the archive.
        state: a short description, for the table.
        files: number of its files; None if it was not unpacked here.
        faults: `<file>: missing` or `<file>: changed`.
    """

    archive: Archive
    state: str
    files: int | None = None
    faults: tuple[str, ...] = ()


def download(cfg: DictConfig) -> list[ArchiveState]:
    """Fetch the missing archives of the chosen machines, or with `verify` check every file, and print a table.

    Raises:
        InputError: the data set has no archive for this machine, or files are missing or damaged.
    """
    check(cfg)
    if cfg.choices.dataset == "synthetic":
        raise InputError("dataset=synthetic is made by the first run: there is nothing to download")
    data = build(cfg.dataset, machine=cfg.machine.name, protocol=None, features=None)
    if not isinstance(data, Downloadable) or not data.wanted():
        machines = sorted({archive.machine for archive in _all_archives(cfg)})
        raise InputError(
            f"dataset={cfg.choices.dataset} has no archive for machine={cfg.machine.name}"
            + (f"; it has: {', '.join(machines)}, all" if machines else "")
        )
    fetched = [] if cfg.verify else data.fetch(data.wanted())
    states = [_state(data, archive, fetched, verify=cfg.verify) for archive in data.wanted()]
    _show(states, data)
    if incomplete := [state for state in states if state.faults or state.state == "missing"]:
        names = ", ".join(state.archive.name for state in incomplete)
        notes = (data.root / "archives").resolve()
        raise InputError(
            f"incomplete: {names}. Run `mimii download` without verify=true to fetch what is missing; if files of an "
            f"archive were changed, delete its note in {notes} first"
        )
    return states


def _all_archives(cfg: DictConfig) -> list[Archive]:
    data = build(cfg.dataset, machine="all", protocol=None, features=None)
    return data.wanted() if isinstance(data, Downloadable) else []


def _state(data: Downloadable, archive: Archive, fetched: list[Archive], *, verify: bool) -> ArchiveState:
    if not _archives.is_unpacked(data.root, archive):
        return ArchiveState(archive, "placed by hand, not verified" if data.by_hand(archive) else "missing")
    if not verify:
        state = "fetched" if archive in fetched else "present"
        return ArchiveState(archive, state, _archives.count(data.root, archive))
    count, faults = _archives.verify(data.root, archive)
    return ArchiveState(archive, f"{len(faults)} faulty files" if faults else "complete", count, tuple(faults))


def _show(states: list[ArchiveState], data: Downloadable) -> None:
    from rich.table import Table

    from mimii_pl.core.console import Console

    table = Table("archive", "record", "machine", "state", "files", title=f"{data.root.resolve()}", box=None)
    for state in states:
        archive, files = state.archive, "" if state.files is None else str(state.files)
        table.add_row(archive.name, str(archive.record), archive.machine, state.state, files)
    console = Console()
    console.print(table)
    for state in states:
        for line in state.faults[:FAULTS_SHOWN]:
            console.print(line, soft_wrap=True)
        if len(state.faults) > FAULTS_SHOWN:
            console.print(f"... and {len(state.faults) - FAULTS_SHOWN} more of {state.archive.name}")
