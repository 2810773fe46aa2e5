"""Metadata of a recording, the batch that detectors see, and the crop they request."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from mimii_pl.core.errors import InputError

Condition = Literal["normal", "anomaly", ""]
PLAIN_NUMBER = re.compile(r"\d{1,9}(\.\d{1,6})?")  # s
FRAGMENT = "#t="  # between a file and the start of a part of it
Split = Literal["train", "validation", "test", "supplemental", ""]


@dataclass(frozen=True)
class Clip:
    """One recording on disk, or a part of one.

    Attributes:
        path: the file.
        machine: machine type, for example `fan`.
        machine_id: one machine of that type, for example `id_00` (a section in the later DCASE sets).
        domain: `source` or `target` where the data set has domains, else empty.
        condition: `normal`, `anomaly`, or empty if unknown.
        split: the data set's own split: `train`, `validation`, `test`, `supplemental`, or empty if it has none; a
            protocol decides.
        attributes: anything else that the data set records (speed, load, microphone). Clips cut from one longer
            recording name it as `recording`, and a protocol keeps them in one split.
        start: of a part of the recording, in s; None: the recording, from its beginning.
    """

    path: Path
    machine: str
    machine_id: str
    domain: str = ""
    condition: Condition = ""
    split: Split = ""
    attributes: dict = field(default_factory=dict)
    start: float | None = None

    @property
    def name(self) -> str:
        """The file, with the start of a part of it in s: `pump/night.wav#t=120` (W3C Media Fragments)."""
        return clip_name(self.path, self.start)

    @property
    def place(self) -> tuple[str, float]:
        """Order of clips, unique in a data set: by file, then by time."""
        return str(self.path), self.start or 0.0

    @property
    def label(self) -> str:
        """Machine type and ID in one word, unique across machine types: `fan/id_00`."""
        return f"{self.machine}/{self.machine_id}"

    @property
    def recording(self) -> str:
        """Recording that the clip was cut from; its own file if the data set names none."""
        return self.attributes.get("recording") or str(self.path)


class Batch(NamedTuple):
    """Input of detectors: B clips (or crops of clips), T samples, C channels, F bins, N frames, K classes.

    Attributes:
        wave: [B, T] int16 as it leaves the disk, float32 in full scale 1 once on the device.
        machine_id: [B] index into the sorted labels of the training data; -1 for a machine not seen in training.
        anomalous: [B] 1 anomaly, 0 normal, -1 unknown. Never read by an unsupervised detector.
        clip: [B] row of the clip in the audio cache.
        spec: [B, C, F, N] the representation, once on the device.
        target: [B, K] share of each class in the clip (mix-up makes it soft); classes are the machine IDs, in training
            only, or the classes of a classifier.
        frame: [B] first frame of each crop; None for whole clips.
    """

    wave: Tensor
    machine_id: Tensor
    anomalous: Tensor
    clip: Tensor
    spec: Tensor | None = None
    target: Tensor | None = None
    frame: Tensor | None = None

    def split(self, size: int) -> list["Batch"]:
        """Divide the batch into consecutive ones of `size` clips; the last one may have fewer."""
        columns = [[None] * -(-len(self.wave) // size) if part is None else part.split(size) for part in self]
        return [Batch(*parts) for parts in zip(*columns, strict=True)]


class Crop(NamedTuple):
    """Part of a clip that a detector requests at a time.

    Attributes:
        frames: frames in one crop.
        tile: False: one crop per clip and epoch, at a random position. True: tiles that cover the clip once per epoch,
            from a random offset, shuffled across all clips, so that each batch mixes as many clips as possible.
        overlap: frames that two neighbouring tiles share (a window of n frames needs n - 1).
        within: first and last + 1 frame of the clip that crops may use; None: all.
    """

    frames: int
    tile: bool = False
    overlap: int = 0
    within: tuple[int, int] | None = None

    def room(self, frames: int) -> tuple[int, int]:
        """Return the first frame that may be used in a clip of `frames` frames, and the number of such frames."""
        start, stop = self.within or (0, frames)
        return start, min(stop, frames) - start


def clip_name(path: Path, start: float | None) -> str:
    """Name a part of a file by its start in s, to the microsecond; None: the file itself.

    >>> clip_name(Path("night.wav"), 120.5)
    'night.wav#t=120.5'
    """
    return str(path) if start is None else f"{path}{FRAGMENT}{f'{start:.6f}'.rstrip('0').rstrip('.')}"


def split_name(name: str | Path) -> tuple[Path, float | None]:
    """Divide the name of a clip into file and start in s; a file that has such a name itself is a whole one.

    >>> split_name("pump/night.wav#t=120.5")
    (PosixPath('pump/night.wav'), 120.5)
    """
    file, fragment, start = str(name).rpartition(FRAGMENT)
    if fragment and PLAIN_NUMBER.fullmatch(start) and not os.path.lexists(name):
        return Path(file), float(start)
    return Path(name), None


def restrict(clips: list[Clip], machine: str, root: Path) -> list[Clip]:
    """Keep the clips of one machine type (or of `all`), in the given order.

    Raises:
        InputError: no clip is left; the message names the types that were found.
    """
    kept = [clip for clip in clips if machine in ("all", clip.machine)]
    if not kept:
        raise no_machine(machine, root, (clip.machine for clip in clips))
    return kept


def no_machine(machine: str, root: Path, machines: Iterable[str]) -> InputError:
    """Make the error for a machine type that is not in the data, which names the types that are."""
    names = ", ".join(sorted(set(machines))) or "none"
    return InputError(f"no recordings of machine '{machine}' in {root}; machine types found there: {names}")


def baseline_split(clips: list[Clip]) -> list[Clip]:
    """Split clips into train and test like the baseline of the original MIMII; returns them sorted by path."""
    to_test = Counter(clip.label for clip in clips if clip.condition == "anomaly")
    split = []
    for clip in sorted(clips, key=lambda clip: clip.place):
        test = clip.condition == "anomaly" or to_test[clip.label] > 0
        if clip.condition == "normal":
            to_test[clip.label] -= 1
        split.append(replace(clip, split="test" if test else "train"))
    return split
