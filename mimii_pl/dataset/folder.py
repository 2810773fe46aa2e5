"""A folder of your own recordings: the shortest way from wavs to scores."""

import os
from collections.abc import Iterator
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import SUFFIXES
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.dataset._spellings import CONDITIONS, SPLITS

CONDITION_FOLDERS = {word: condition for word, condition in CONDITIONS.items() if word.isalpha() and condition}


class Folder(MachineSounds):
    """Every wav and flac below `root`; names of folders tell what is known.

    A folder named `normal` (ok, good, healthy) holds normal recordings, one named `anomaly` (abnormal, faulty, bad, ng)
    anomalous ones; recordings in neither are normal: what there is to learn from. The other folders name the machine
    ID, `pump3/normal/x.wav` or `pump3/x.wav`; recordings in none belong to one machine. Folders `train`, `validation`
    and `test` say the split (for `protocol=official`). The machine type is `machine=<name>`, any name.

    Args:
        normal: further names of folders that hold normal recordings.
        anomaly: further names of folders that hold anomalous ones, for example [propeller, unbalance].
        **options: root, machine, protocol, features and the other options of `MachineSounds`.
    """

    def __init__(self, *, normal: list[str] | None = None, anomaly: list[str] | None = None, **options) -> None:
        super().__init__(**options)
        own = dict.fromkeys(normal or (), "normal") | dict.fromkeys(anomaly or (), "anomaly")
        self.conditions = CONDITION_FOLDERS | {str(name).lower(): condition for name, condition in own.items()}

    def discover(self) -> list[Clip]:
        if not self.root.is_dir():
            raise InputError(f"{self.root.resolve()} is no folder: set dataset.root=<folder of recordings>")
        clips = [self._clip(path) for path in sorted(_recordings(self.root))]
        if not clips:
            raise InputError(f"no wav or flac file in {self.root.resolve()}")
        if all(clip.condition == "anomaly" for clip in clips):
            raise InputError(
                f"every recording in {self.root.resolve()} is in a folder of anomalies: a detector learns from normal "
                "ones. Put them into normal/, or right into the folder"
            )
        return clips

    def _clip(self, path: Path) -> Clip:
        folders = path.relative_to(self.root).parts[:-1]
        conditions = [name for name in folders if name.lower() in self.conditions]
        splits = [name for name in folders if SPLITS.get(name.lower())]
        machine_id = "_".join(name for name in folders if name not in (*conditions, *splits))
        return Clip(
            path, self.root.resolve().name if self.machine == "all" else self.machine, machine_id or "id_00",
            condition=self.conditions[conditions[-1].lower()] if conditions else "normal",
            split=SPLITS[splits[-1].lower()] if splits else "",
        )  # fmt: skip


def _recordings(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield Path(folder, name)
