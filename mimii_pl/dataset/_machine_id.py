"""The machine ID of a recording, from its folders and its name: one way for training and for scoring."""

import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from mimii_pl.dataset._clip import Condition, Split
from mimii_pl.dataset._dcase_names import named_id
from mimii_pl.dataset._spellings import (
    SPLITS,
    Conditions,
    Names,
    folded,
    listed_names,
    numbers_of_classes,
    opposed,
    suggests_fault,
)

NO_FOLDER = "id_00"  # machine ID of recordings in no folder that names one


class FolderNames:
    """Reader of the names of folders: condition, split or machine ID.

    Args:
        conditions: names of conditions.
        ids: names that are machine IDs, whatever they look like, or one.
    """

    def __init__(self, conditions: Conditions, ids: Names = ()) -> None:
        self.conditions, self.ids = conditions, set(map(folded, listed_names(ids)))

    def condition(self, name: str) -> Condition:
        """Return the condition that a folder's name stands for; empty if none."""
        return "" if self.is_id(name) else self.conditions.of(name)

    def split(self, name: str) -> Split:
        """Return the split that a folder's name stands for; empty if none."""
        return "" if self.is_id(name) else SPLITS.get(folded(name), "")

    def read(self, folders: Sequence[str]) -> tuple[str, Condition, Split]:
        """Return machine ID (empty: none), condition and split that folders tell, the outermost first."""
        conditions = [condition for name in folders if (condition := self.condition(name))]
        splits = [split for name in folders if (split := self.split(name))]
        rest = [name for name in folders if not self.condition(name) and not self.split(name)]
        return _joined(rest), conditions[-1] if conditions else "", splits[-1] if splits else ""

    def doubtful(self, names: Collection[str]) -> list[str]:
        """Return those of the folders in one place that are no condition, though others are, or hold a word for one.

        `0` and `1`, `0` to `2`, `class1` and `class2` may be conditions too, and so may `dicht` and `undicht`, and a
        word that suggests a fault, such as `panne`.
        """
        others = [name for name in names if self.is_unknown(name)]
        if any(self.condition(name) for name in names) or numbers_of_classes(names):
            return others
        denied = opposed(names)
        return [name for name in others if name in denied or self.conditions.is_mixed(name) or suggests_fault(name)]

    def is_unknown(self, name: str) -> bool:
        """Return whether a name is neither a condition nor given as a machine ID."""
        return not self.condition(name) and not self.is_id(name)

    def is_id(self, name: str) -> bool:
        """Return whether a name is given as a machine ID."""
        return folded(name) in self.ids


class MachineIds:
    """The machine IDs of a run, and how a recording tells its own.

    Args:
        labels: machine IDs seen in training, as `<machine>/<id>`.
        names: what names of folders tell.
        root: folder of the run's own recordings, where its machine IDs come from folders; None: they do not.
        named: whether names of files tell machine IDs, also those that were not seen in training.
    """

    def __init__(
        self,
        labels: Sequence[str],
        names: FolderNames | None = None,
        root: str | Path | None = None,
        *,
        named: bool = True,
    ) -> None:
        self.labels, self.names, self.named = list(labels), names or FolderNames(Conditions()), named
        self.root = Path(os.path.realpath(root)) if root is not None else None
        self.ids = {label.split("/", 1)[1] for label in labels}
        self._spelled = {folded(name): name for name in sorted(self.ids)}
        unnamed = self.root is not None and self.ids == {NO_FOLDER}
        self.shapes = set() if unnamed else {_shape(name) for name in self.ids}
        self.depth = max((name.count("_") + 1 for name in self.ids), default=1)

    def of(self, path: Path) -> str | None:
        """Return the machine ID that a path tells: a label, or an ID not seen in training; None if it tells none.

        A whole word of the file name comes first (`normal_id_00_00000000.wav`), then the folders next to the file,
        whole and joined by `_`, without those that name a condition or a split. For a run that learned from folders
        it is the other way round, and its own recordings have the ID that they were learned with. Upper and lower case
        count only among IDs that differ in nothing else.

        >>> ids = MachineIds(["fan/id_00", "fan/id_02"])
        >>> [ids.of(Path(p)) for p in ("normal_id_02_00000000.wav", "id_00/valid_02.wav", "id_021/a.wav", "a.wav")]
        ['fan/id_02', 'fan/id_00', 'id_021', None]
        """
        name, folders = named_id(path.stem), self._of_folders(path)
        if self.root is not None and (inside := self._inside(path)) is not None:
            found = [self.names.read(inside.parts[:-1])[0] or NO_FOLDER]
        elif self.named and self.root is None:
            found = [name, folders]
        else:
            found = [folders, name if self._as_known(name) in self.ids else ""]
        found = [self._as_known(text) for text in found]
        known = [text for text in found if text in self.ids]
        chosen = next((text for text in (*known, *found) if text), None)
        return self._label(chosen, path.parts) if chosen in self.ids else chosen

    def listed(self, name: str) -> str:
        """Return the machine ID that a list gives; of a machine type alone, `fan/`, its only one, or nothing."""
        if not name.endswith("/"):
            return unicodedata.normalize("NFC", name)
        of_type = [label for label in self.labels if label.startswith(name)]
        return of_type[0] if len(of_type) == 1 else ""

    def _inside(self, path: Path) -> Path | None:
        """Return the path of one of the run's own recordings from their folder; None for another."""
        assert self.root is not None
        for place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
            if place.is_relative_to(self.root):
                return place.relative_to(self.root)
        return None

    def _of_folders(self, path: Path) -> str:
        """Return the longest known ID that the last folders make; else one that looks like a known one, or nothing."""
        folders = [n for n in path.parts[:-1] if not self.names.condition(n) and not self.names.split(n)]
        joined = [_joined(folders[-count:]) for count in range(min(self.depth, len(folders)), 0, -1)]
        known = next((known for name in joined if (known := self._as_known(name)) in self.ids), None)
        return known or next((name for name in joined if _shape(name) in self.shapes), "")

    def _as_known(self, name: str) -> str:
        """Spell a name as the known ID that differs from it in case at most; any other stays."""
        return name if name in self.ids else self._spelled.get(folded(name), name)

    def _label(self, name: str, parts: Sequence[str]) -> str:
        """Return the label of a known ID: of several machines with it, the one whose type is a folder of the path."""
        labels = [label for label in self.labels if label.split("/", 1)[1] == name]
        if len(labels) == 1:
            return labels[0]
        types = [folded(label.split("/", 1)[0]) for label in labels]
        return next((labels[types.index(part)] for part in map(folded, reversed(parts)) if part in types), name)


def _joined(names: Sequence[str]) -> str:
    """Join the names of folders to a machine ID, composed as one types it."""
    return unicodedata.normalize("NFC", "_".join(names))


def _shape(name: str) -> str:
    """Replace the numbers in a name: `id_00` and `ID_021` look alike."""
    return re.sub(r"\d+", "0", folded(name))
