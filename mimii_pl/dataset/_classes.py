"""The class of a clip for classification: its condition, machine, domain or any attribute."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import name_fault, printable
from mimii_pl.dataset._clip import Clip

log = logging.getLogger(__name__)
FIELDS = ("condition", "machine", "domain")  # targets that are fields of a clip
NO_CLASS = ("recording", "supplemental")  # attributes that say where a clip comes from, not how the machine runs


def clip_class(clip: Clip, target: str) -> str:
    """Return the name of a clip's class; empty if unknown.

    Args:
        target: `condition`, `machine_id` (`fan/id_00`, unique across machine types), `machine`, `domain`, or the name
            of an attribute.
    """
    if target == "machine_id":
        return clip.label
    return str(getattr(clip, target) if target in FIELDS else clip.attributes.get(target, ""))


def attribute_class(clip: Clip) -> str:
    """Return machine ID, domain and attributes of a clip in one word: `fan/section_00 source f-n=X m-n=W`."""
    attributes = sorted(
        (name, value) for name, value in clip.attributes.items() if name not in NO_CLASS and value != ""
    )
    facts = [f"{name}={value}" for name, value in attributes]
    return " ".join([clip.label, *([clip.domain] if clip.domain else []), *facts])


def check_names(clips: Iterable[Clip], target: str | None = None) -> None:
    """Raise InputError for a machine type, machine ID, domain or class that cannot be a cell of our tables."""
    for clip in clips:
        names = {"machine type": clip.machine, "machine ID": clip.machine_id, "domain": clip.domain}
        if target:
            names[target] = clip_class(clip, target)
        for kind, name in names.items():
            reason = "it is a path" if kind == "machine type" and "/" in name else name_fault(name)
            if reason:
                raise InputError(
                    f"{printable(clip.path)}: its {kind} is {printable(name)!r}: {reason}. Choose another name"
                )


def class_names(clips: Iterable[Clip], target: str) -> list[str]:
    """List the names of the classes, sorted, with `normal` first."""
    return sorted({clip_class(clip, target) for clip in clips} - {""}, key=lambda name: (name != "normal", name))


def labelled(clips: Sequence[Clip], target: str) -> list[Clip]:
    """Return the clips whose class is known; the others are skipped, with a warning.

    Raises:
        InputError: no class is known, or only one.
    """
    kept = [clip for clip in clips if clip_class(clip, target)]
    if len(kept) < len(clips):
        log.warning("%d of %d clips have no %s: skipped", len(clips) - len(kept), len(clips), target)
    counts = Counter(clip_class(clip, target) for clip in kept)
    if len(counts) < 2:
        attributes = sorted({name for clip in clips for name, value in clip.attributes.items() if value != ""})
        reason = f"all {len(kept)} clips that have one are '{next(iter(counts))}'" if counts else "no clip has one"
        raise InputError(
            f"target={target}: {reason}, but two classes are needed. Set target to one of: condition, machine_id, "
            f"{', '.join(dict.fromkeys(['machine', 'domain', *attributes]))}"
        )
    return kept


def numbered(clips: Sequence[Clip], target: str) -> tuple[list[str], np.ndarray]:
    """Number the classes of the training clips.

    Returns:
        Names of the classes [K], and the class number of each clip [N]; -1 for a class without training clips.

    Raises:
        InputError: all training clips are of one class.
    """
    names = class_names((clip for clip in clips if clip.split == "train"), target)
    if len(names) < 2:
        raise InputError(
            f"target={target}: all training clips are '{names[0]}', but two classes are needed: set "
            "protocol=stratified, which splits every class"
        )
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number.get(clip_class(clip, target), -1) for clip in clips])


def class_shares(numbers: Tensor, classes: int) -> Tensor:
    """Turn the class numbers of clips into shares, [B] -> [B, classes]; all zero for a class of number -1."""
    return F.one_hot(numbers.clamp(min=0), classes).float() * (numbers >= 0)[:, None]


def inverse_shares(numbers: np.ndarray, classes: int) -> Tensor:
    """Weight classes by the inverse of their share in the class numbers of clips, divided by `classes`, [classes]."""
    counts = np.bincount(numbers, minlength=classes)
    return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()
