"""MIMII as published: `<snr>_dB_<type>/<type>/id_XX/{normal,abnormal}/NNNNNNNN.wav`, eight channels, no split."""

from pathlib import Path
from typing import Any, Literal

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._clip import Clip, Condition, baseline_split
from mimii_pl.dataset._downloadable import Downloadable
from mimii_pl.dataset._files import matching_files

FOLDER_CONDITIONS: dict[str, Condition] = {"normal": "normal", "abnormal": "anomaly"}


class MIMII(Downloadable):
    """Original MIMII (Purohit et al., DCASE 2019): fan, pump, slider, valve at three signal-to-noise ratios.

    Published without a split; that of the authors' baseline is used instead (`protocol=official` and `protocol=mimii`
    are equal here). The archives unpack to `<type>/...` with no SNR in the path: keep each in its own folder, such as
    `6_dB_fan`; without such folders, `root` itself is read as the chosen SNR.

    Args:
        snr: signal-to-noise ratio of the recordings in dB.
        archives: archives of the record: `record`, `name` (with {snr} and {machine}), `files` (machine -> MD5 or null).
        **options: root, machine, protocol, features and the other options of `Downloadable` and `MachineSounds`.
    """

    def __init__(self, *, snr: Literal[-6, 0, 6] = 6, archives: dict | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.snr, self.archives = snr, archives

    def wanted(self) -> list[Archive]:
        return self.archives_of(self.archives, "{snr}_dB_{machine}", snr=self.snr) if self.archives else []

    def by_hand(self, archive: Archive) -> bool:
        return super().by_hand(archive) or (self.root / archive.machine).is_dir()

    def discover(self) -> list[Clip]:
        files = self._files(f"{self.snr}_dB_*/*/id_*/*/*") or self._files("*/id_*/*/*")
        if not files:
            raise InputError(
                f"no recordings at {self.snr} dB in {self.root.resolve()}: expected "
                f"{self.snr}_dB_<type>/<type>/id_00/{{normal,abnormal}}/00000000.wav there. "
                "Set dataset.root=<folder> and dataset.snr=<-6|0|6>, or try dataset=synthetic"
            )
        clips = [
            Clip(
                path,
                machine=path.parts[-4],
                machine_id=path.parts[-3],
                condition=FOLDER_CONDITIONS[path.parts[-2]],
                attributes={"snr_db": self.snr},
            )
            for path in files
        ]
        return baseline_split(clips)

    def _files(self, pattern: str) -> list[Path]:
        if not self.root.is_dir():
            return []
        paths = map(Path, matching_files(str(self.root), pattern, self.skip_folder))
        return [path for path in paths if path.parent.name in FOLDER_CONDITIONS]
