"""What a clip's class is where classes are to be told apart: its condition, its machine, whatever is told of it."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip

log = logging.getLogger(__name__)
FIELDS = ("condition", "machine", "domain")


def clip_class(clip: Clip, target: str) -> str:
    """Name of a clip's class, empty where it is not known.

    Args:
        target: `condition`, `machine_id` (`fan/id_00`, unique over types), `machine`, `domain`, or the name of an
            attribute.
    """
    if target == "machine_id":
        return clip.label
    return str(getattr(clip, target) if target in FIELDS else clip.attributes.get(target, ""))


def class_names(clips: Iterable[Clip], target: str) -> list[str]:
    """Names of the classes, sorted; `normal` comes first."""
    return sorted({clip_class(clip, target) for clip in clips} - {""}, key=lambda name: (name != "normal", name))


def labelled(clips: Sequence[Clip], target: str) -> list[Clip]:
    """The clips whose class is known; how many are left out is said.

    Raises:
        InputError: no class is known, or there is only one.
    """
    kept = [clip for clip in clips if clip_class(clip, target)]
    if len(kept) < len(clips):
        log.warning("%d of %d clips have no %s: left out", len(clips) - len(kept), len(clips), target)
    counts = Counter(clip_class(clip, target) for clip in kept)
    if len(counts) < 2:
        told = sorted({name for clip in clips for name, value in clip.attributes.items() if value != ""})
        found = f"all {len(kept)} clips that have one are '{next(iter(counts))}'" if counts else "no clip has one"
        raise InputError(
            f"target={target}: {found}, so there is nothing to tell apart. target is one of: condition, machine_id, "
            f"{', '.join(dict.fromkeys(['machine', 'domain', *told]))}"
        )
    return kept


def numbered(clips: Sequence[Clip], target: str) -> tuple[list[str], np.ndarray]:
    """Names of the classes of the training clips, K, and of each clip the number of its own, [N]; -1 for another class.

    Raises:
        InputError: the training clips are of one class.
    """
    names = class_names((clip for clip in clips if clip.split == "train"), target)
    if len(names) < 2:
        raise InputError(
            f"target={target}: all clips to train on are '{names[0]}', so there is nothing to tell apart. "
            "protocol=stratified divides every class"
        )
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number.get(clip_class(clip, target), -1) for clip in clips])
