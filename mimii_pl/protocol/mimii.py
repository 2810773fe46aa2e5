"""The split of the original MIMII baseline."""

from collections import Counter
from dataclasses import replace

from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, hold_out


class MIMII(HeldOut):
    """Per machine ID, the first len(abnormal) sorted normal clips go to test with all abnormal ones; the rest train.

    Validation is held out from the training clips, which the baseline's code also does (Purohit et al., DCASE 2019).
    """

    def __call__(self, clips: list[Clip]) -> list[Clip]:
        """Clips with their split; what a data set itself says of train and test is not used."""
        return hold_out(baseline_split(clips), self.validation, self.seed)


def baseline_split(clips: list[Clip]) -> list[Clip]:
    """Train and test of the original baseline, clips sorted by path."""
    to_test = Counter(clip.label for clip in clips if clip.condition == "anomaly")
    split = []
    for clip in sorted(clips, key=lambda clip: str(clip.path)):
        test = clip.condition == "anomaly" or to_test[clip.label] > 0
        to_test[clip.label] -= clip.condition == "normal"
        split.append(replace(clip, split="test" if test else "train"))
    return split
