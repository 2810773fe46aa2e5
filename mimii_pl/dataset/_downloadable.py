"""The base of data sets that can be downloaded: the archives that a run needs, and fetching those missing."""

from collections.abc import Mapping, Sequence
from typing import Any

from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._datamodule import MachineSounds


class Downloadable(MachineSounds):
    """Base of the data sets with public archives; a subclass lists those that the chosen machines need (`wanted`).

    Args:
        download: fetch what is missing before training; False: never touch the network.
        mirrors: base URLs that serve records, tried in turn.
        keep_archives: keep the zip files in `root/archives` after unpacking.
        **options: root, machine, protocol, features and the other options of `MachineSounds`.
    """

    def __init__(
        self,
        *,
        download: bool = True,
        mirrors: Sequence[str] = ("https://zenodo.org",),
        keep_archives: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.download, self.mirrors, self.keep_archives = download, list(mirrors), keep_archives

    def prepare_data(self) -> None:
        """Fetch the archives that are neither unpacked nor placed by hand; one process does it, the others wait."""
        if self.download:
            self.fetch([archive for archive in self.wanted() if not self.by_hand(archive)])

    def fetch(self, archives: Sequence[Archive]) -> list[Archive]:
        """Download, verify and unpack those of these archives that are missing, and return them.

        Raises:
            InputError: unreachable, damaged, unsafe, or full disk; the message explains how to place them by hand.
        """
        from mimii_pl.dataset._zenodo import fetch

        return fetch(self.root, archives, self.lists(), mirrors=self.mirrors, keep=self.keep_archives)

    def wanted(self) -> list[Archive]:
        """List the archives of the chosen machines, on disk or not."""
        raise NotImplementedError

    def archives_of(self, entry: Mapping, folder: str, **names: object) -> list[Archive]:
        """List the archives of the chosen machines in a record.

        Args:
            entry: `record`, `name` and `files` (machine -> MD5) of the record.
            folder: folder of each archive, under `root`.
            **names: values for the placeholders in `name` and `folder`, besides {machine}.
        """
        return [
            Archive(
                entry["record"],
                entry["name"].format(machine=machine, **names),
                machine,
                folder.format(machine=machine, **names),
                md5,
            )
            for machine, md5 in entry["files"].items()
            if self.machine in ("all", machine)
        ]

    def lists(self) -> list[tuple[str, str, str | None]]:
        """List further files for `root/ground_truth`: name, URL and MD5."""
        return []

    def by_hand(self, archive: Archive) -> bool:
        """Return True if the content of an archive is on disk, for example placed by hand."""
        return (self.root / archive.folder / archive.machine).is_dir()
