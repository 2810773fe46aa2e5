"""DCASE 2020 task 2, development layout: `<machine>/{train,test}/{normal,anomaly}_id_XX_NNNNNNNN.wav`."""

import logging
import re
from pathlib import Path

from mimii_pl.dataset._audio import SUFFIXES
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._datamodule import MachineSounds, restrict
from mimii_pl.errors import InputError

log = logging.getLogger(__name__)
NAME = re.compile(r"^(?P<condition>normal|anomaly)_(?P<id>id_\d{2})_\d{8}$")


class DCASE2020(MachineSounds):
    """Folders of DCASE 2020 task 2 (Koizumi et al., DCASE 2020): single-channel clips with a train/test split.

    wav and flac are read; machine types and IDs are what is found. Files of another name are named in the log and left.
    """

    def discover(self) -> list[Clip]:
        files = [
            path
            for split in ("train", "test")
            for path in sorted(self.root.glob(f"*/{split}/*"))
            if path.suffix.lower() in SUFFIXES
        ]
        if not files:
            raise InputError(
                f"no recordings in {self.root.resolve()}: expected <machine>/train/normal_id_00_00000000.wav and "
                "<machine>/test/{normal,anomaly}_id_00_00000000.wav there. "
                "Set dataset.root=<folder>, or try dataset=synthetic"
            )
        clips = [clip for path in files if (clip := parse(path))]
        if strange := len(files) - len(clips):
            log.warning("%d files in %s are not named like normal_id_00_00000000.wav: left out", strange, self.root)
        return restrict(clips, self.machine, self.root)


def parse(path: Path) -> Clip | None:
    """The clip that a path of this layout names; None for a name that fits no pattern."""
    match = NAME.match(path.stem)
    if match is None:
        return None
    return Clip(
        path, machine=path.parent.parent.name, machine_id=match["id"], condition=match["condition"],
        split=path.parent.name,
    )  # fmt: skip
