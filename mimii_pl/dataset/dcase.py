"""DCASE task 2 in all its years, and the data sets that follow its layout (MIMII DUE, MIMII DG).

What the years differ in is in `conf/dataset/<name>.yaml`: archives, checksums, the list of labels. How a file name is
read is the same for all.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._archives import Archive
from mimii_pl.dataset._audio import SUFFIXES
from mimii_pl.dataset._clip import Clip, no_machine
from mimii_pl.dataset._dcase_names import FOLDERS, Told, attributes_of, parse, read_list, read_table
from mimii_pl.dataset._downloadable import Downloadable

log = logging.getLogger(__name__)
FILES_NAMED = 10  # strange names in the log
PARTS = {"dev": ("dev",), "eval": ("eval",), "all": ("dev", "eval")}


class DCASE(Downloadable):
    """Folders of DCASE task 2: `<machine>/{train,test}/...`, in `root` itself or in `root/{dev,eval}_data[/raw]`.

    IDs are `id_00` (2020: normal_id_00_00000000.wav) or sections (since 2021:
    section_00_source_train_normal_0000_<attributes>.wav), domains are `source` and `target`. Attributes come from
    `attributes_00.csv` where there is one, else from the name. wav and flac are read; machine types, IDs and domains
    are what is found. Files of another name are named in the log and left.

    Args:
        part: `dev`: the development set; `eval`: additional training and evaluation set; `all`: both. A folder right
            under `root` is read with every part; what stands there is taken for the development set when archives are
            missing.
        official: challenge whose official score is computed, and whose files are written.
        archives: part -> archives as the record has them: `record`, `name` (with {machine}), `files`
            (machine -> MD5 or null).
        ground_truth: lists of the evaluation clips' labels: `name` in `root/ground_truth`, `url`, `md5` (or null);
            tables of an evaluator also `machine` and what it `tells` (`condition` or `domain`). A later one overrules
            an earlier one. Empty: unlabelled clips are scored, not judged.
        supplemental: which clips of a `supplemental` folder join the training clips: `machine` (recorded without
            noise) or `none`. Clips of noise alone are never learned from as a machine.
        spelling: attribute names to correct, wrong -> right.
        sounds: options of `Published` and `MachineSounds`.

    Sources: Koizumi et al. 2020, Kawaguchi et al. 2021, Dohi et al. 2022, 2023, Nishida et al. 2024, 2025 (DCASE).
    """

    def __init__(
        self,
        *,
        part: Literal["dev", "eval", "all"] = "dev",
        official: Literal["dcase2020", "dcase2021", "dcase2022"] = "dcase2020",
        archives: dict | None = None,
        ground_truth: list | None = None,
        supplemental: Literal["none", "machine"] = "none",
        spelling: dict | None = None,
        **options,
    ) -> None:
        super().__init__(**options)
        self.part, self.official = part, official
        self.archives, self.ground_truth = archives or {}, ground_truth or []
        self.supplemental, self.spelling = supplemental, spelling or {}

    # --- what is on disk ---------------------------------------------------------------------------------------------
    def discover(self) -> list[Clip]:
        folders = list(self._machine_folders())
        if folders and self.machine not in ("all", *(folder.name for folder in folders)):
            raise no_machine(self.machine, self.root, (folder.name for folder in folders))
        labels = self._labels()
        clips, strange = [], []
        for folder in folders:
            if self.machine not in ("all", folder.name):
                continue
            attributes = attributes_of(folder)
            found = []
            for path in _recordings(folder):
                clip = parse(path, labels.get(folder.name, {}).get(path.stem), attributes, self.spelling)
                (found.append(clip) if clip else strange.append(path))
            _compare(folder, found, labels)
            clips += [clip for clip in map(self._use, found) if clip]
        if not clips:
            raise InputError(self._nothing(strange))
        if strange:
            names = ", ".join(str(path.relative_to(self.root)) for path in strange[:FILES_NAMED])
            log.warning("%d files in %s are named like no recording of task 2: left out (%s%s)",
                        len(strange), self.root, names, ", ..." if len(strange) > FILES_NAMED else "")  # fmt: skip
        return _each_once(sorted(clips, key=lambda clip: str(clip.path)))

    def _use(self, clip: Clip) -> Clip | None:
        """The clip as it takes part; None for a supplemental one that does not."""
        if clip.split != "supplemental":
            return clip
        if clip.attributes["supplemental"] != self.supplemental:
            return None
        return replace(clip, split="train", condition="normal")

    def _machine_folders(self) -> Iterator[Path]:
        """Every folder of a machine type, named by the type."""
        for top in self.tops():
            if top.is_dir():
                for folder in sorted(top.iterdir()):
                    if any((folder / split).is_dir() for split in FOLDERS):
                        yield folder

    def tops(self) -> list[Path]:
        """Folders that machine types may stand in."""
        parts = [self.root / f"{part}_data" for part in PARTS[self.part]]
        return [self.root, *parts, *(part / "raw" for part in parts)]

    def _nothing(self, strange: Sequence[Path]) -> str:
        wanted = " or ".join(f"{part}_data/" for part in PARTS[self.part])
        named = f"; {len(strange)} files there have other names, for example {strange[0].name}" if strange else ""
        return (
            f"no recordings in {self.root.resolve()}{named}: expected <machine>/train/normal_id_00_00000000.wav (2020) "
            f"or <machine>/train/section_00_source_train_normal_0000.wav (since 2021) there or in {wanted}. "
            "Set dataset.root=<folder>, or try dataset=synthetic"
        )

    # --- labels of evaluation clips ----------------------------------------------------------------------------------
    def _labels(self) -> dict[str, dict[str, Told]]:
        """machine -> stem -> what the lists of labels tell of an evaluation clip."""
        told: dict[str, dict[str, Told]] = {}
        for entry in self.ground_truth if "eval" in PARTS[self.part] else ():
            path = self.root / "ground_truth" / entry["name"]
            if not path.is_file():
                log.warning("%s is missing: evaluation clips without a label are scored and not judged", path)
                continue
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if entry["md5"] not in (None, found):
                raise InputError(
                    f"{path} is not the list of labels this data set was checked with (MD5 {found}, expected "
                    f"{entry['md5']}; some published lists are wrong). Delete it and run download.py"
                )
            new = read_table(path, entry["machine"], entry["tells"]) if "tells" in entry else read_list(path)
            for machine, clips in new.items():
                for stem, facts in clips.items():
                    told.setdefault(machine, {}).setdefault(stem, {}).update(facts)
        return told

    # --- what can be downloaded --------------------------------------------------------------------------------------
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


def _recordings(folder: Path) -> Iterator[Path]:
    for split in FOLDERS:
        if (folder / split).is_dir():
            yield from sorted(path for path in (folder / split).iterdir() if path.suffix.lower() in SUFFIXES)


def _compare(folder: Path, clips: Sequence[Clip], labels: Mapping[str, Mapping[str, Told]]) -> None:
    """Say where a list of labels and the clips on disk do not match."""
    told = labels.get(folder.name, {})
    unlabelled = {clip.path.stem for clip in clips if clip.split == "test" and not clip.condition}
    absent = told.keys() - {clip.path.stem for clip in clips}
    if told and (unlabelled or absent):
        log.warning(
            "%s and its list of labels do not match: %d clips are not in the list, %d of the list are not there",
            folder, len(unlabelled), len(absent),
        )  # fmt: skip


def _each_once(clips: list[Clip]) -> list[Clip]:
    """Raise where one recording stands both under `root` and under a part: it could be on two sides."""
    seen: dict[tuple, Path] = {}
    for clip in clips:
        key = (clip.machine, clip.path.parent.name, clip.path.name)
        if key in seen:
            raise InputError(f"the same recording stands in two places: {seen[key]} and {clip.path}. Keep one of them")
        seen[key] = clip.path
    return clips
