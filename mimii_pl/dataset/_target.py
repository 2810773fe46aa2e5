"""What a clip's class is where classes are to be told apart: its condition, its machine, whatever is told of it."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from mimii_pl.dataset._clip import Clip
from mimii_pl.errors import InputError

log = logging.getLogger(__name__)
FIELDS = ("condition", "machine", "domain")


def class_of(clip: Clip, target: str) -> str:
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
    return sorted({class_of(clip, target) for clip in clips} - {""}, key=lambda name: (name != "normal", name))


def labelled(clips: Sequence[Clip], target: str) -> list[Clip]:
    """The clips whose class is known; how many are left out is said.

    Raises:
        InputError: no class is known, or there is only one.
    """
    kept = [clip for clip in clips if class_of(clip, target)]
    if len(kept) < len(clips):
        log.warning("%d of %d clips have no %s: left out", len(clips) - len(kept), len(clips), target)
    counts = Counter(class_of(clip, target) for clip in kept)
    if len(counts) < 2:
        told = sorted({name for clip in clips for name, value in clip.attributes.items() if value != ""})
        found = f"all {len(kept)} clips that have one are '{next(iter(counts))}'" if counts else "no clip has one"
        raise InputError(
            f"target={target}: {found}, so there is nothing to tell apart. target is one of: condition, machine_id, "
            f"{', '.join(dict.fromkeys(['machine', 'domain', *told]))}"
        )
    return kept
