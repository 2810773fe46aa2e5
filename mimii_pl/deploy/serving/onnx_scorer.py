"""An export as a scorer of windows: the model and its program, without torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mimii_pl.core.errors import InputError, damaged
from mimii_pl.dataset._audio import UnreadableClip, opened
from mimii_pl.dataset._channels import Fusion, fuse_channels
from mimii_pl.dataset._stream import Part
from mimii_pl.deploy.score import ExportedScorer, Unusable
from mimii_pl.scoring.timeline import TimelineBuilder
from mimii_pl.threshold._threshold import Thresholds


class OnnxScorer:
    """Scores windows with the folder of an export; see `WindowScorer`, whose attributes it has.

    Args:
        folder: that `mimii export` wrote.

    Raises:
        InputError: a file is missing, damaged, or not what was exported.
    """

    def __init__(self, folder: Path) -> None:
        with damaged(folder / "model.json"):
            self.exported = ExportedScorer(folder)
            facts = self.exported.facts
            self.labels: list[str] = [str(label) for label in facts["labels"]]
            self.sample_rate, self.samples = self.exported.rate, self.exported.samples
            state = {"normal": facts["held_out"], "labels": self.labels, "thresholds": facts["thresholds"]}
            self.thresholds: Thresholds | None = Thresholds(**state, origin=str(facts["threshold_origin"]))
            self.fusion: Fusion = facts["fusion"]
            self.needs_id, self.fingerprint = bool(facts["needs_id"]), str(facts["run"])

    @property
    def seconds(self) -> float:
        """Length of a clip in s."""
        return self.samples / self.sample_rate

    def score_waves(self, waves: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return anomaly scores [N] of clips, int16 [N, samples]."""
        return self.exported.score(waves, ids).astype(np.float64)

    def over_channels(self, values: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuse scores of channels by recording, as `BaseScorer.over_channels`."""
        return fuse_channels(values, owners.tolist(), self.fusion)

    def id_number(self, machine_id: str | None) -> int:
        """Return the number of a machine ID given by name; -1 where none is needed.

        Raises:
            InputError: it is unknown, or missing.
        """
        if machine_id is None:
            if self.needs_id and len(self.labels) > 1:
                raise InputError(f"no machine ID was given; this detector knows: {', '.join(self.labels)}")
            return 0 if len(self.labels) == 1 else -1
        number = self.exported.number_of(machine_id)
        if number < 0:
            raise InputError(f"machine ID '{machine_id}': give one of {', '.join(self.labels)}")
        return number

    def read(self, path: Path, builder: TimelineBuilder) -> Iterator[tuple[int, np.ndarray]]:
        """Read a recording into a builder, as `read_windows` does with torch.

        Raises:
            UnreadableClip: the recording cannot be used.
        """
        with opened(path) as file:
            try:
                starts, frames, ratio = self.exported.plan(file, builder.windows.hop)
            except Unusable as reason:
                raise UnreadableClip(str(reason)) from None
            builder.seconds = file.frames / file.samplerate
            for start in starts:
                at = start / file.samplerate
                try:
                    clips = self.exported.clips(file, start, frames, ratio)
                except Unusable as reason:
                    builder.add(Part(at, None, UnreadableClip(str(reason))))
                    continue
                yield builder.add(Part(at, clips)), clips
