"""The split that the data set publishes."""

import logging

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import HeldOut, hold_out

log = logging.getLogger(__name__)


class Official(HeldOut):
    """Published split into train and test; validation clips are held out from the normal training clips."""

    def __call__(self, clips: list[Clip]) -> list[Clip]:
        """Return the clips with their split; anomalies among the training clips are skipped, with a warning."""
        if any(not clip.split for clip in clips):
            raise InputError("this data set publishes no split: choose another protocol, such as protocol=holdout")
        kept = [clip for clip in clips if not (clip.split == "train" and clip.condition == "anomaly")]
        if len(kept) < len(clips):
            log.warning("%d anomalous clips among the training clips: skipped", len(clips) - len(kept))
        return hold_out(kept, self.validation, self.seed)
