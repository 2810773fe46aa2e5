"""Classes: compute the criterion on held-out clips, classify the test clips, and only then read their labels."""

import logging
from pathlib import Path

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import file_cell
from mimii_pl.dataset import MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.class_metrics import overall
from mimii_pl.scoring.predictions import Predictions, class_results, write_predictions
from mimii_pl.scoring.results import Result, write_results
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.task._task import Task

log = logging.getLogger(__name__)


class Classification(Task):
    """Classification: learn from labelled clips of every class and predict the class of every test clip.

    Options are those of `Task`; `target` is `condition`, `machine_id`, `machine`, `domain` or the name of an attribute.
    """

    criterion = "balanced_accuracy"  # on held-out clips
    checkpoint_rule = "lowest validation loss on held-out clips of every class"
    is_classification = True

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        if self.objective not in (self.criterion, "loss"):
            raise InputError(
                f"objective={self.objective} needs anomaly scores: with task=classification use "
                f"{self.criterion} or loss"
            )
        if not detector.supports("classify"):
            name = self.names.get("model", detector.name)
            raise InputError(
                f"model={name} is not a classifier: task=classification needs one, such as "
                "model=simple_classifier. task=anomaly detects deviations from normal clips"
            )
        if self.backend is not None:
            raise InputError(
                f"backend={self.backend.name} computes anomaly scores: use backend=none with task=classification"
            )

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Return the balanced accuracy on the held-out clips; there is nothing to fit."""
        return self.interim(scorer, data)

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        predictions = predict_split(scorer, data, "test")
        if not len(predictions.known.files):
            log.warning("there are no test clips of the classes seen in training: the classifier is not evaluated")
        if unknown := len(predictions.files) - len(predictions.known.files):
            log.warning("%d test clips are of classes not seen in training: they are not evaluated", unknown)
        write_predictions(run_dir / "predictions.csv", predictions)
        results = class_results(predictions, data.machine)
        write_results(run_dir / "results.csv", results)
        return results

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        known = predict_split(scorer, data, "validation").known
        return overall(known.label, known.probability)[self.criterion]


def predict_split(scorer: Scorer, data: MachineSounds, split: str) -> Predictions:
    """Predict the class probabilities of the clips of a split."""
    waves, ids = data.of(split)
    rows, classes = data.rows(split), data.classes
    probability = np.empty((0, len(classes)))
    if len(rows):
        probability = scorer.classify_waves(waves, ids, f"classifying {split} clips")
    clips = [data.clips[row] for row in rows]
    return Predictions(
        [file_cell(c.name) for c in clips], [c.label for c in clips], classes, data.label[rows], probability
    )
