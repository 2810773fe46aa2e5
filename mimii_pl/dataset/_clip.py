"""What is known of a recording, what detectors see of it, and how much of it they ask for."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from mimii_pl.core.errors import InputError

Condition = Literal["normal", "anomaly", ""]
Split = Literal["train", "validation", "test", "supplemental", ""]


@dataclass(frozen=True)
class Clip:
    """One recording on disk.

    Attributes:
        path: the file.
        machine: machine type, for example `fan`.
        machine_id: which machine of that type, for example `id_00` (a section of the later DCASE sets).
        domain: `source` or `target` where the data set has domains, else empty.
        condition: `normal`, `anomaly`, or empty where it is not known.
        split: what the data set itself says: `train`, `validation`, `test`, `supplemental`, or empty where it says
            nothing; a protocol decides.
        attributes: anything else that the data set tells (speed, load, microphone). Clips cut from one longer recording
            name it as `recording`: a protocol keeps them on one side.
    """

    path: Path
    machine: str
    machine_id: str
    domain: str = ""
    condition: Condition = ""
    split: Split = ""
    attributes: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Machine type and ID in one word, unique over types: `fan/id_00`."""
        return f"{self.machine}/{self.machine_id}"

    @property
    def recording(self) -> str:
        """What it was cut from: its file, where the data set does not say."""
        return self.attributes.get("recording") or str(self.path)


class Batch(NamedTuple):
    """What detectors see; B clips (or crops of clips), T samples, C channels, F bins, N frames, K classes.

    Attributes:
        wave: [B, T] int16 as it leaves the disk, float32 in full scale 1 once on the device.
        machine_id: [B] index into the training data's sorted labels; -1 for a machine never heard in training.
        anomalous: [B] 1 anomaly, 0 normal, -1 not known. Never read by an unsupervised detector.
        clip: [B] row of the clip in the audio cache.
        spec: [B, C, F, N] the representation, once on the device.
        frame: [B] first frame of each crop; None for whole clips.
        target: [B, K] share of each class in what is heard (mix-up makes it soft); classes are the machine IDs, in
            training only, or what a classifier tells apart.
    """

    wave: Tensor
    machine_id: Tensor
    anomalous: Tensor
    clip: Tensor
    spec: Tensor | None = None
    target: Tensor | None = None
    frame: Tensor | None = None


class Crop(NamedTuple):
    """How much of a clip a detector asks for at a time.

    Attributes:
        frames: frames in one crop.
        tile: False: one crop per clip and epoch, at a random place. True: crops, a random shift apart, that cover the
            clip once per epoch and are shuffled over all clips, so that each batch mixes as many clips as it can.
        overlap: frames two neighbouring tiles share (a window of n frames needs n - 1).
        within: first and last + 1 frame of the clip that crops may touch; None: all.
    """

    frames: int
    tile: bool = False
    overlap: int = 0
    within: tuple[int, int] | None = None

    def room(self, frames: int) -> tuple[int, int]:
        """First frame that may be touched in a clip of `frames` frames, and how many there are."""
        start, stop = self.within or (0, frames)
        return start, min(stop, frames) - start


def restrict(clips: list[Clip], machine: str, root: Path) -> list[Clip]:
    """Keep one machine type (or `all`); the error names the types that are there."""
    kept = [clip for clip in clips if machine in ("all", clip.machine)]
    if not kept:
        raise no_machine(machine, root, (clip.machine for clip in clips))
    return sorted(kept, key=lambda clip: str(clip.path))


def no_machine(machine: str, root: Path, found: Iterable[str]) -> InputError:
    """What to say where a machine type is not among the data."""
    names = ", ".join(sorted(set(found))) or "none"
    return InputError(f"no recordings of machine '{machine}' in {root}; machine types found there: {names}")


def baseline_split(clips: list[Clip]) -> list[Clip]:
    """Split into train and test as the baseline of the original MIMII does, clips sorted by path."""
    to_test = Counter(clip.label for clip in clips if clip.condition == "anomaly")
    split = []
    for clip in sorted(clips, key=lambda clip: str(clip.path)):
        test = clip.condition == "anomaly" or to_test[clip.label] > 0
        to_test[clip.label] -= clip.condition == "normal"
        split.append(replace(clip, split="test" if test else "train"))
    return split
