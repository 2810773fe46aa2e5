"""A folder of your own recordings: the shortest path from wavs to scores."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._files import audio_files
from mimii_pl.dataset._machine_id import NO_FOLDER, FolderNames, MachineIds
from mimii_pl.dataset._own import OwnRecordings
from mimii_pl.dataset._spellings import Conditions, folded, listed_names, suggests_fault

log = logging.getLogger(__name__)
FolderParts = tuple[str, ...]  # names of folders below the root, without those of splits
FOLDERS_SHOWN = 5  # folders in a message


class Folder(OwnRecordings):
    """Every recording below `root`, hidden files and folders excepted; folder names give the labels.

    A folder named `normal` (ok, good, healthy, ...) contains normal recordings, one named `anomaly` (abnormal, faulty,
    defect, NOK, not_ok, ...) anomalous ones; recordings in neither are normal. The other folders name the machine ID,
    `pump3/normal/x.wav` or `pump3/x.wav`; recordings without such a folder belong to one machine. Folders `train`,
    `validation` and `test` give the split (for `protocol=official`). The machine type is `machine=<name>`, any name.

    A name that is neither beside `normal` or `anomaly`, such as `crack`, is refused: it could be a fault.

    Args:
        normal: further names of folders with normal recordings, or one.
        anomaly: further names of folders with anomalous ones, or one, for example [propeller, unbalance].
        labels: name of a folder -> `normal` or `anomaly`, such as {gut: normal, NOK: anomaly}; joined with the two.
        ids: names of folders that are machine IDs, or one, whatever stands beside them or is part of them.
        **options: root, machine, protocol, features and the other options of `OwnRecordings`.
    """

    def __init__(
        self,
        *,
        normal: list[str | int] | str | int | None = None,
        anomaly: list[str | int] | str | int | None = None,
        labels: dict | None = None,
        ids: list[str | int] | str | int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.given = {"normal": normal, "anomaly": anomaly, "labels": list(labels or ()), "ids": ids}
        self.names = FolderNames(Conditions(normal, anomaly, labels), ids)

    @classmethod
    def machine_ids(cls, labels: Sequence[str], options: Mapping[str, Any]) -> MachineIds:
        conditions = Conditions(options["normal"], options["anomaly"], options.get("labels"))
        names = FolderNames(conditions, options.get("ids", ()))
        return MachineIds(labels, names, options["root"])

    def discover(self) -> list[Clip]:
        if not self.root.is_dir():
            raise InputError(f"{self.root.resolve()} is not a folder: set dataset.root=<folder of recordings>")
        paths = [Path(path) for path in audio_files(str(self.root), self.skip_folder)]
        if not paths:
            raise InputError(f"no recording in {self.root.resolve()}: set dataset.root=<folder of recordings>")
        self._check_names({path.relative_to(self.root).parts[:-1] for path in paths})
        self._refuse_faulty_root(paths)
        clips = [self._clip(path) for path in paths]
        if all(clip.condition == "anomaly" for clip in clips):
            raise InputError(
                f"every recording in {self.root.resolve()} is in a folder of anomalies, but a detector learns from "
                "normal ones: add some in a folder normal/, or right under dataset.root"
            )
        return clips

    def _clip(self, path: Path) -> Clip:
        machine_id, condition, split = self.names.read(path.relative_to(self.root).parts[:-1])
        return Clip(
            path,
            self.root.resolve().name if self.machine == "all" else self.machine,
            machine_id or NO_FOLDER,
            condition=condition or "normal",
            split=split,
        )

    def _refuse_faulty_root(self, paths: Sequence[Path]) -> None:
        """Raise InputError if recordings would count as normal below a root that is named as a fault; warn of files."""
        told = self.names.read
        untold = [path for path in paths if not told(path.relative_to(self.root).parts[:-1])[1]]
        name = self.root.resolve().name
        if untold and self.names.condition(name) == "anomaly":
            raise InputError(
                f"{self.root.resolve()}: its name says anomalous, but {len(untold)} recordings in it would count as "
                f"normal: set dataset.root to the folder above, or say dataset.labels={{{printable(name)}: normal}}"
            )
        if named := [
            path.name
            for path in untold
            if self.names.conditions.of(path.stem) == "anomaly" or suggests_fault(path.stem)
        ]:
            log.warning(
                "%d recordings are called as if faulty (%s), but no folder says so: taken for normal. Move them to a "
                "folder anomaly/",
                len(named),
                printable(named[0]),
            )

    def _check_names(self, folders: Collection[Sequence[str]]) -> None:
        """Raise InputError for a folder of recordings that may be a condition or a machine ID, or a name of none."""
        plain = {tuple(name for name in parts if not self.names.split(name)) for parts in folders}
        beside: dict[FolderParts, set[str]] = defaultdict(set)  # place -> names of the folders in it
        for parts in plain:
            for depth, name in enumerate(parts):
                beside[parts[:depth]].add(name)
        found = {name for names in beside.values() for name in names}
        present = {*map(folded, found), folded(self.root.resolve().name)}
        for option, given in self.given.items():
            if missing := [name for name in listed_names(given) if folded(name) not in present]:
                raise InputError(
                    f"dataset.{option}={missing}: no folder of recordings below {self.root.resolve()} has this name; "
                    f"they are {_listed(found)}"
                )
        self._check_conditions(plain)
        self._check_ids(plain)
        unhealthy = self._only_below_anomalies(plain)
        for parents, names in sorted(beside.items()):
            if parents in plain:  # recordings lie beside them
                doubtful = [name for name in names if self.names.is_unknown(name)]
            elif any(self.names.condition(name) == "anomaly" for name in parents):
                doubtful = [name for name in names if name in unhealthy[parents] and self.names.is_unknown(name)]
            else:
                doubtful = self.names.doubtful(names)
            if doubtful:
                others = f" beside {_listed(names - set(doubtful))}" if names - set(doubtful) else ""
                raise InputError(
                    f"{printable(self.root.joinpath(*parents))}: are its folders {_listed(doubtful)}{others} faults, "
                    f"normal, or machine IDs? Say so: dataset.anomaly={_option(doubtful)}, dataset.normal=[...] or "
                    "dataset.ids=[...]"
                )

    def _only_below_anomalies(self, folders: Collection[FolderParts]) -> dict[FolderParts, set[str]]:
        """Return the folders, by their place, that begin no machine ID of which normal recordings are there."""
        healthy: set[FolderParts] = set()
        anomalous: list[tuple[FolderParts, FolderParts]] = []
        for parts in folders:
            names = tuple(name for name in parts if not self.names.condition(name))
            if self.names.read(parts)[1] == "anomaly":
                anomalous.append((parts, names))
            else:
                healthy.update(names[:depth] for depth in range(len(names) + 1))
        found: dict[FolderParts, set[str]] = defaultdict(set)
        for parts, names in anomalous:
            for depth, name in enumerate(parts):
                if names[: len([n for n in parts[: depth + 1] if not self.names.condition(n)])] not in healthy:
                    found[parts[:depth]].add(name)
        return found

    def _check_conditions(self, folders: Collection[FolderParts]) -> None:
        """Raise InputError for recordings that folders call both normal and anomalous: `anomaly/ok`."""
        for parts in sorted(folders):
            told = {condition: name for name in parts if (condition := self.names.condition(name))}
            if len(told) > 1:
                raise InputError(
                    f"{printable(self.root.joinpath(*parts))} is below {printable(told['normal'])} (normal) and "
                    f"{printable(told['anomaly'])} (anomaly): rename one of them, or say dataset.ids=[...] if one is a "
                    "machine ID"
                )

    def _check_ids(self, folders: Collection[FolderParts]) -> None:
        """Raise InputError for two machines of one ID: `a_b/c` and `a/b_c` are joined to the same text."""
        seen: dict[str, FolderParts] = {}
        for parts in sorted(folders):
            names = tuple(name for name in parts if self.names.is_unknown(name) or self.names.is_id(name))
            id_ = self.names.read(parts)[0]
            if seen.setdefault(id_, names) != names:
                one, other = ("/".join(map(printable, each)) for each in (seen[id_], names))
                raise InputError(
                    f"{self.root.resolve()}: {one} and {other} make one machine ID, {id_}: rename one of them"
                )


def _listed(names: Collection[str]) -> str:
    shown = [printable(name) for name in sorted(names)[:FOLDERS_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - FOLDERS_SHOWN} more" if len(names) > FOLDERS_SHOWN else "")


def _option(names: Collection[str]) -> str:
    return f"[{','.join(map(printable, sorted(names)[:FOLDERS_SHOWN]))}{',...' if len(names) > FOLDERS_SHOWN else ''}]"
