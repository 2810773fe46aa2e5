"""k-fold cross-validation over the normal clips, with a test set that no fold sees."""

from collections.abc import Sequence

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Clip
from mimii_pl.protocol._held_out import Protocol, by_id, by_recording, draw, moved, split_clips


class CrossValidation(Protocol):
    """Normal clips 80 % for training and 20 % for testing; the training clips in k folds, one of which validates.

    Four fifths of the anomalies are tested; the rest is reserved for choosing thresholds that need anomalies and never
    selects a checkpoint. Clips are drawn for each ID, by recording; the test set is the same in every fold. Sweep the
    folds for mean and standard deviation: `-m protocol.fold=0,1,2,3,4`.

    Args:
        folds: number of folds.
        fold: number of the fold that validates, counted from 0.
        test: share of the normal clips in the test set.
        anomalies: share of the anomalies in the test set.
        seed: of the draw.
    """

    def __init__(
        self, *, folds: int = 5, fold: int = 0, test: float = 0.2, anomalies: float = 0.8, seed: int = 0
    ) -> None:
        if not 0 <= fold < folds or folds < 2:
            raise InputError(f"protocol.fold={fold}, protocol.folds={folds}: at least 2 folds, counted from 0")
        self.folds, self.fold, self.test, self.anomalies, self.seed = folds, fold, test, anomalies, seed

    def __call__(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips with their split, sorted by path."""
        clips, normal, anomaly, rest = split_clips(clips)
        tested = draw(clips, normal, self.test, self.seed, salt=[1])
        validation = draw(clips, anomaly, 1 - self.anomalies, self.seed, salt=[2])
        reserved = {clips[row].recording for row in validation}
        rest = [row for row in rest if clips[row].recording not in reserved]
        train = set(normal) - tested
        for number, (label, rows) in enumerate(sorted(by_id(clips, sorted(train)).items())):
            recordings = by_recording(clips, rows)
            if len(recordings) < self.folds:
                raise InputError(
                    f"{label} has {len(recordings)} normal recordings to train on, too few for {self.folds} folds: "
                    "set protocol.folds lower"
                )
            order = np.random.default_rng([self.seed, number, 3]).permutation(len(recordings))
            validation.update(row for index in order[self.fold :: self.folds] for row in recordings[index])
        clips = moved(clips, train, "train")
        clips = moved(clips, validation, "validation")
        clips = moved(clips, {*tested, *rest, *(set(anomaly) - validation)}, "test")
        return [clip for clip in clips if clip.split]
