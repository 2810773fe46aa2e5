"""The split of the original MIMII baseline."""

from mimii_pl.dataset._clip import Clip, baseline_split
from mimii_pl.protocol._held_out import HeldOut, hold_out


class MIMII(HeldOut):
    """Per machine ID, all N abnormal and the first N normal clips (by path) for testing, the rest for training.

    Validation clips are held out from the training clips, as in the baseline's code (Purohit et al., DCASE 2019).
    """

    def __call__(self, clips: list[Clip]) -> list[Clip]:
        """Return the clips with their split; the data set's own split is ignored."""
        return hold_out(baseline_split(clips), self.validation, self.seed)
