"""A folder of your own recordings: the shortest path from wavs to scores."""

from pathlib import Path
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip, Condition
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.dataset._files import audio_files
from mimii_pl.dataset._spellings import CONDITIONS, SPLITS

CONDITION_FOLDERS = {word: condition for word, condition in CONDITIONS.items() if word.isalpha() and condition}


class Folder(MachineSounds):
    """Every wav and flac below `root`, hidden files excepted; folder names give the labels.

    A folder named `normal` (ok, good, healthy) contains normal recordings, one named `anomaly` (abnormal, faulty, bad,
    ng) anomalous ones; recordings in neither are normal. The other folders name the machine ID, `pump3/normal/x.wav` or
    `pump3/x.wav`; recordings without such a folder belong to one machine. Folders `train`, `validation` and `test` give
    the split (for `protocol=official`). The machine type is `machine=<name>`, any name.

    Args:
        normal: further names of folders with normal recordings.
        anomaly: further names of folders with anomalous ones, for example [propeller, unbalance].
        **options: root, machine, protocol, features and the other options of `MachineSounds`.
    """

    def __init__(self, *, normal: list[str] | None = None, anomaly: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.conditions: dict[str, Condition] = dict(CONDITION_FOLDERS)  # folder name in lower case -> condition
        self.conditions.update({str(name).lower(): "normal" for name in normal or ()})
        self.conditions.update({str(name).lower(): "anomaly" for name in anomaly or ()})

    def discover(self) -> list[Clip]:
        if not self.root.is_dir():
            raise InputError(f"{self.root.resolve()} is not a folder: set dataset.root=<folder of recordings>")
        clips = [self._clip(Path(path)) for path in audio_files(str(self.root), self.skip_folder)]
        if not clips:
            raise InputError(f"no wav or flac file in {self.root.resolve()}: set dataset.root=<folder of recordings>")
        if all(clip.condition == "anomaly" for clip in clips):
            raise InputError(
                f"every recording in {self.root.resolve()} is in a folder of anomalies, but a detector learns from "
                "normal ones: add some in a folder normal/, or right under dataset.root"
            )
        return clips

    def _clip(self, path: Path) -> Clip:
        folders = path.relative_to(self.root).parts[:-1]
        conditions = [name for name in folders if name.lower() in self.conditions]
        splits = [name for name in folders if SPLITS.get(name.lower())]
        machine_id = "_".join(name for name in folders if name not in (*conditions, *splits))
        return Clip(
            path,
            self.root.resolve().name if self.machine == "all" else self.machine,
            machine_id or "id_00",
            condition=self.conditions[conditions[-1].lower()] if conditions else "normal",
            split=SPLITS[splits[-1].lower()] if splits else "",
        )
