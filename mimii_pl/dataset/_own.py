"""Recordings of your own, of any length: longer ones are divided into clips, which a protocol keeps together."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import length
from mimii_pl.dataset._cache import common_length, headers
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._datamodule import MachineSounds
from mimii_pl.dataset._stream import starts_of

log = logging.getLogger(__name__)
USUAL_CLIP = 10.0  # s: that of the public sets, for which features and detectors have their defaults
DIVIDED_FROM = 1.5  # clips: shorter recordings are cut
WILDLY = 1.5  # ratio of the longest to the shortest recording, from which the choice of a length is explained


class OwnRecordings(MachineSounds):
    """Base of data sets whose recordings may have any length.

    Recordings longer than `DIVIDED_FROM` clips are divided into consecutive clips; the last one ends with the
    recording. The clips of a recording, or of a block of it, are never on two sides of a split.

    Args:
        long: `split`, or `cut`: only the beginning of longer recordings is used.
        hop: s from a clip of a divided recording to the next; None: a clip.
        block: s of a divided recording that may be held out from the rest of it, where there are few recordings; None:
            a recording stays whole. Neighbouring blocks sound alike, which flatters thresholds.
        **options: of `MachineSounds`. With `seconds` None and `split`, a clip has the length that at least half of the
            recordings have, or else their median, but `USUAL_CLIP` where that is longer than 1.5 times as much.
    """

    def __init__(
        self,
        *,
        long: Literal["split", "cut"] = "split",
        hop: float | None = None,
        block: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if long not in ("split", "cut"):
            raise InputError(f"dataset.long={long}: should be split or cut")
        if long == "cut" and hop is not None:
            raise InputError(f"dataset.hop={hop:g}: dataset.long=cut divides no recording: leave one of them out")
        if block is not None and (long == "cut" or hop not in (None, self.seconds)):
            raise InputError(
                f"dataset.block={block:g}: blocks of a divided recording must not share sound: leave out dataset.hop "
                "and dataset.long=cut"
            )
        self.long, self.hop, self.block = long, hop, block

    @property
    def clip_hop(self) -> float | None:
        return None if self.long == "cut" else self.hop or self.seconds

    def divide(self, clips: list[Clip]) -> list[Clip]:
        """Divide the recordings that are longer than `DIVIDED_FROM` clips; sets `seconds` where it is not given.

        Raises:
            InputError: the hop is longer than a clip, so that something would not be learned, or not above 0.
        """
        if self.long == "cut":
            return clips
        paths = list(dict.fromkeys(clip.path for clip in clips))
        measured = zip(paths, headers(paths, length), strict=True)
        lengths = {path: found for path, found in measured if isinstance(found, tuple)}  # the decoder names the others
        seconds = {path: frames / rate for path, (frames, rate) in lengths.items()}
        if self.seconds is None and seconds:
            self.seconds = _clip_length(list(seconds.values()))
        if self.hop is not None and not 0 < self.hop <= (self.seconds or self.hop):
            raise InputError(
                f"dataset.hop={self.hop:g}: should be above 0 and at most {self.seconds:g} s, the length of a clip "
                "(dataset.seconds)"
            )
        if self.block is not None and not self.block >= (self.seconds or 0):
            raise InputError(
                f"dataset.block={self.block:g}: should be at least {self.seconds:g} s, the length of a clip"
            )
        divided: list[Clip] = []
        for clip in clips:
            divided += self._parts(clip, *lengths[clip.path]) if clip.path in lengths else [clip]
        self._say(clips, divided, seconds)
        return divided

    def _parts(self, clip: Clip, frames: int, rate: int) -> list[Clip]:
        assert self.seconds is not None
        if frames / rate <= DIVIDED_FROM * self.seconds:
            return [clip]
        samples, hop = (max(1, round(s * self.sample_rate)) for s in (self.seconds, self.hop or self.seconds))
        starts = starts_of(frames, rate, sample_rate=self.sample_rate, samples=samples, hop=hop)
        names = [self._block(clip.recording, start / rate) for start in starts]
        if len(names) > 1 and (starts[-1] - starts[-2]) / rate < self.seconds:
            names[-1] = names[-2]  # they share sound
        return [
            replace(clip, attributes={**clip.attributes, "recording": name}, start=start / rate)
            for start, name in zip(starts, names, strict=True)
        ]

    def _block(self, recording: str, start: float) -> str:
        """Name what is never divided between splits: the recording, or the block that begins at or before `start`."""
        return recording if self.block is None else f"{recording}#block={int(start // self.block)}"

    def _say(self, clips: Sequence[Clip], divided: Sequence[Clip], seconds: dict[Path, float]) -> None:
        parts = Counter(clip.path for clip in divided if clip.start is not None)
        if parts:
            total = sum(seconds[path] for path in parts) / 60
            text = "%d of %d recordings are divided into %d clips of %.7g s (%.1f minutes); dataset.seconds=<s> sets "
            text += "another length, dataset.long=cut uses only their beginning"
            log.info(text, len(parts), len(clips), sum(parts.values()), self.seconds, total)


def _clip_length(seconds: Sequence[float]) -> float:
    """Choose the length of a clip for recordings of these lengths in s, and say why where they differ."""
    common = common_length([round(value, 6) for value in seconds])
    chosen = common if common <= DIVIDED_FROM * USUAL_CLIP else USUAL_CLIP
    low, high = min(seconds), max(seconds)
    if chosen != common or high > WILDLY * low:
        reason = "the length that most have, or else the median"
        if chosen != common:
            reason = (
                f"as in the public sets, for which detectors have their defaults (most, or the median: {common:.4g} s)"
            )
        text = "recordings have %.4g to %.4g s: clips have %.7g s, %s; dataset.seconds=<s> sets another length"
        log.warning(text, low, high, chosen, reason)
    return chosen
