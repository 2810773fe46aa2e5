"""DCASE task 2 in all its years, and the data sets that follow its layout (MIMII DUE, MIMII DG).

The years differ in archives, checksums and label lists, which are in `conf/dataset/<name>.yaml`. File names are parsed
alike for all.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._clip import Clip, no_machine
from mimii_pl.dataset._dcase_names import FOLDERS, Facts, attributes_of, parse_path, read_list, read_table
from mimii_pl.dataset._downloadable import Downloadable
from mimii_pl.dataset._files import entries, is_audio

log = logging.getLogger(__name__)
FILES_NAMED = 10  # unknown file names in the log
PARTS = {"dev": ("dev",), "eval": ("eval",), "all": ("dev", "eval")}


class DCASE(Downloadable):
    """Folders of DCASE task 2: `<machine>/{train,test}/...`, in `root` itself or in `root/{dev,eval}_data[/raw]`.

    IDs are `id_00` (2020: normal_id_00_00000000.wav) or sections (since 2021:
    section_00_source_train_normal_0000_<attributes>.wav), domains are `source` and `target`. Attributes come from
    `attributes_00.csv` if there is one, else from the name. wav and flac are read; machine types, IDs and domains are
    those found on disk. Files with other names are logged and skipped.

    Args:
        part: `dev`: the development set; `eval`: additional training and evaluation set; `all`: both. A machine folder
            right under `root` is read with every part; for downloads it counts as the development set.
        official: challenge whose official score is computed, and whose files are written.
        archives: part -> archives of the records: `record`, `name` (with {machine}), `files` (machine -> MD5 or null).
        ground_truth: label lists of the evaluation clips: `name` in `root/ground_truth`, `url`, `md5` (or null);
            tables of an evaluator also have `machine` and the field it `tells` (`condition` or `domain`). A later list
            overrules an earlier one. Empty: unlabelled clips are scored but not evaluated.
        supplemental: clips of a `supplemental` folder that join the training clips: `machine` (recorded without noise)
            or `none`. Clips of noise alone are never trained on.
        spelling: attribute names to correct, wrong -> right.
        **options: options of `Downloadable` and `MachineSounds`.

    Sources: Koizumi et al. 2020, Kawaguchi et al. 2021, Dohi et al. 2022, 2023, Nishida et al. 2024, 2025 (DCASE).
    """

    def __init__(
        self,
        *,
        part: Literal["dev", "eval", "all"] = "dev",
        official: Literal["dcase2020", "dcase2021", "dcase2022"] = "dcase2022",
        archives: dict | None = None,
        ground_truth: list | None = None,
        supplemental: Literal["none", "machine"] = "none",
        spelling: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.part, self.official = part, official
        self.archives, self.ground_truth = archives or {}, ground_truth or []
        self.supplemental, self.spelling = supplemental, spelling or {}

    # --- recordings on disk -------------------------------------------------------------------------------------------
    def discover(self) -> list[Clip]:
        folders = list(self._machine_folders())
        if folders and self.machine not in ("all", *(folder.name for folder in folders)):
            raise no_machine(self.machine, self.root, (folder.name for folder in folders))
        labels = self._labels()
        clips: list[Clip] = []
        unknown: list[Path] = []  # files with names of no pattern
        for folder in folders:
            if self.machine not in ("all", folder.name):
                continue
            attributes = attributes_of(folder)
            parsed = []
            for path in self._recordings(folder):
                clip = parse_path(path, labels.get(folder.name, {}).get(path.stem), attributes, self.spelling)
                if clip:
                    parsed.append(clip)
                else:
                    unknown.append(path)
            _compare(folder, parsed, labels)
            clips += [clip for clip in map(self._use, parsed) if clip]
        if not clips:
            raise InputError(self._no_recordings(unknown))
        if unknown:
            names = [str(path.relative_to(self.root)) for path in unknown[:FILES_NAMED]]
            if len(unknown) > FILES_NAMED:
                names.append("...")
            log.warning(
                "%d files in %s have no file name of task 2: skipped (%s)", len(unknown), self.root, ", ".join(names)
            )
        return _check_unique(sorted(clips, key=lambda clip: str(clip.path)))

    def _use(self, clip: Clip) -> Clip | None:
        """Make a chosen supplemental clip a training clip; None for the other supplemental clips."""
        if clip.split != "supplemental":
            return clip
        if clip.attributes["supplemental"] != self.supplemental:
            return None
        return replace(clip, split="train", condition="normal")

    def _machine_folders(self) -> Iterator[Path]:
        """Iterate over the folders of machine types, which are named after them."""
        for top in self.tops():
            if top.is_dir():
                for name, is_folder in entries(str(top), self.skip_folder):
                    inner = entries(str(top / name), self.skip_folder) if is_folder else []
                    if any(split in FOLDERS and is_split for split, is_split in inner):
                        yield top / name

    def _recordings(self, folder: Path) -> Iterator[Path]:
        for split in FOLDERS:
            if (folder / split).is_dir():
                for name, is_folder in entries(str(folder / split), self.skip_folder):
                    if is_audio(name) and not is_folder:
                        yield folder / split / name

    def tops(self) -> list[Path]:
        """List the folders that may contain machine types."""
        parts = [self.root / f"{part}_data" for part in PARTS[self.part]]
        return [self.root, *parts, *(part / "raw" for part in parts)]

    def _no_recordings(self, unknown: Sequence[Path]) -> str:
        parts = " or ".join(f"{part}_data/" for part in PARTS[self.part])
        others = f"; {len(unknown)} files there have other names, for example {unknown[0].name}" if unknown else ""
        return (
            f"no recordings in {self.root.resolve()}{others}: expected <machine>/train/normal_id_00_00000000.wav "
            f"(2020) or <machine>/train/section_00_source_train_normal_0000.wav (since 2021) there or in {parts}. "
            "Set dataset.root=<folder>, or try dataset=synthetic"
        )

    # --- labels of evaluation clips ----------------------------------------------------------------------------------
    def _labels(self) -> dict[str, dict[str, Facts]]:
        """Read the label lists of the evaluation clips: machine -> stem -> facts."""
        labels: dict[str, dict[str, Facts]] = {}
        for entry in self.ground_truth if "eval" in PARTS[self.part] else ():
            path = self.root / "ground_truth" / entry["name"]
            if not path.is_file():
                log.warning("%s is missing: evaluation clips without a label are scored but not evaluated", path)
                continue
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if entry["md5"] not in (None, md5):
                raise InputError(
                    f"{path} is not the label list that this data set was checked with (MD5 {md5}, expected "
                    f"{entry['md5']}; some published lists are wrong). Delete it and run `mimii download`"
                )
            new = read_table(path, entry["machine"], entry["tells"]) if "tells" in entry else read_list(path)
            for machine, clips in new.items():
                for stem, facts in clips.items():
                    labels.setdefault(machine, {}).setdefault(stem, {}).update(facts)
        return labels

    # --- archives ---------------------------------------------------------------------------------------------------
    def wanted(self) -> list[Archive]:
        return [
            archive
            for part in PARTS[self.part]
            for entry in self.archives.get(part, ())
            for archive in self.archives_of(entry, f"{part}_data")
        ]

    def lists(self) -> list[tuple[str, str, str | None]]:
        entries = self.ground_truth if "eval" in PARTS[self.part] else ()
        return [(entry["name"], entry["url"], entry["md5"]) for entry in entries]

    def by_hand(self, archive: Archive) -> bool:
        split = "train" if "train" in archive.name else "test" if "test" in archive.name else ""
        part = self.root / archive.folder
        tops = [part, part / "raw", *([self.root] if archive.folder == "dev_data" else [])]
        return any((top / archive.machine / name).is_dir() for top in tops for name in FOLDERS if split in name)


def _compare(folder: Path, clips: Sequence[Clip], labels: Mapping[str, Mapping[str, Facts]]) -> None:
    """Warn if a label list and the clips on disk do not match."""
    listed = labels.get(folder.name, {})
    unlabelled = {clip.path.stem for clip in clips if clip.split == "test" and not clip.condition}
    absent = listed.keys() - {clip.path.stem for clip in clips}
    if listed and (unlabelled or absent):
        log.warning(
            "%s and its label list do not match: %d clips are not in the list, %d listed clips are missing",
            folder,
            len(unlabelled),
            len(absent),
        )


def _check_unique(clips: list[Clip]) -> list[Clip]:
    """Raise InputError if a recording is both under `root` and under a part: it could be in two splits."""
    seen: dict[tuple, Path] = {}
    for clip in clips:
        key = (clip.machine, clip.path.parent.name, clip.path.name)
        if key in seen:
            raise InputError(f"the same recording is in two folders: {seen[key]} and {clip.path}. Keep one of them")
        seen[key] = clip.path
    return clips
