"""Data sets that can be downloaded: which archives a run needs, and getting those that are missing."""

from collections.abc import Mapping, Sequence

from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._datamodule import MachineSounds


class Downloadable(MachineSounds):
    """Base of the data sets with public archives; a subclass says which ones the chosen machines need (`wanted`).

    Args:
        download: fetch what is missing before training; False: never touch the network.
        mirrors: web addresses that serve records, tried in turn.
        keep_archives: keep the zip files in `root/archives` after unpacking.
        **options: root, machine, protocol, features and the other options of `MachineSounds`.
    """

    def __init__(
        self,
        *,
        download: bool = True,
        mirrors: Sequence[str] = ("https://zenodo.org",),
        keep_archives: bool = False,
        **options,
    ) -> None:
        super().__init__(**options)
        self.download, self.mirrors, self.keep_archives = download, list(mirrors), keep_archives

    def prepare_data(self) -> None:
        """Fetch the archives that are neither unpacked nor placed by hand; one process does it, the others wait."""
        if self.download:
            self.fetch([archive for archive in self.wanted() if not self.by_hand(archive)])

    def fetch(self, archives: Sequence[Archive]) -> list[Archive]:
        """Download, verify and unpack what is missing of these archives; returns those that were.

        Raises:
            InputError: out of reach, damaged, unsafe, or no room; the message says how to place them by hand.
        """
        from mimii_pl.dataset._zenodo import fetch

        return fetch(self.root, archives, self.lists(), mirrors=self.mirrors, keep=self.keep_archives)

    def wanted(self) -> list[Archive]:
        """Archives of the chosen machines, whether they are here or not."""
        raise NotImplementedError

    def archives_of(self, entry: Mapping, folder: str, **names: object) -> list[Archive]:
        """Those of the chosen machines among the archives of a record: `record`, `name`, `files` (machine -> MD5).

        `name` and `folder` are completed with {machine} and the further names.
        """
        return [
            Archive(
                entry["record"], entry["name"].format(machine=machine, **names), machine,
                folder.format(machine=machine, **names), md5,
            )
            for machine, md5 in entry["files"].items()
            if self.machine in ("all", machine)
        ]  # fmt: skip

    def lists(self) -> list[tuple[str, str, str | None]]:
        """Further files for `root/ground_truth`: name, address and MD5."""
        return []

    def by_hand(self, archive: Archive) -> bool:
        """Whether what an archive holds is on disk, however it came there."""
        return (self.root / archive.folder / archive.machine).is_dir()
