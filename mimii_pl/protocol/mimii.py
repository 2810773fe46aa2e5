"""The split of the original MIMII baseline."""

from mimii_pl.dataset._clip import Clip, baseline_split
from mimii_pl.protocol._held_out import HeldOut, hold_out


class MIMII(HeldOut):
    """Per machine ID, the first len(abnormal) sorted normal clips go to test with all abnormal ones; the rest train.

    Validation is held out from the training clips, which the baseline's code also does (Purohit et al., DCASE 2019).
    """

    def __call__(self, clips: list[Clip]) -> list[Clip]:
        """Clips with their split; what a data set itself says of train and test is not used."""
        return hold_out(baseline_split(clips), self.validation, self.seed)
