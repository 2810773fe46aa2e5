"""Classes: the criterion on held-out clips, then the test clips."""

import logging
from pathlib import Path

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.class_metrics import overall
from mimii_pl.scoring.predictions import Predictions, class_results, write_predictions
from mimii_pl.scoring.results import Result, write_results
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.task._task import Task

log = logging.getLogger(__name__)


class Classification(Task):
    """Learn from labelled clips of every class and give every test clip a class.

    Options are those of `Task`; `target` is `condition`, `machine_id`, `machine`, `domain` or the name of an attribute.
    """

    criterion = "balanced_accuracy"  # on held-out clips
    checkpoint_rule = "lowest validation loss on held-out clips of every class"
    is_classification = True

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        if self.objective == "other_ids":
            raise InputError("objective=other_ids compares anomaly scores: task=classification has criterion and loss")
        if not detector.supports("classify"):
            raise InputError(
                f"model={detector.name} tells no classes apart: task=classification needs a classifier, such as "
                "model=simple_classifier. task=anomaly finds what is not normal"
            )
        if self.backend is not None:
            raise InputError(f"backend={self.backend.name} makes anomaly scores: task=classification cannot use one")

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Return the balanced accuracy on the held-out clips; nothing is fitted."""
        return self.interim(scorer, data)

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        predictions = predict_split(scorer, data, "test")
        if not len(predictions.known.files):
            log.warning("there are no test clips of a class seen in training: nothing to evaluate the classifier by")
        if unknown := len(predictions.files) - len(predictions.known.files):
            log.warning("%d test clips are of a class never seen in training: they do not count", unknown)
        write_predictions(run_dir / "predictions.csv", predictions)
        results = class_results(predictions, data.machine)
        write_results(run_dir / "results.csv", results)
        return results

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        known = predict_split(scorer, data, "validation").known
        return overall(known.label, known.probability)[self.criterion]


def predict_split(scorer: Scorer, data: MachineSounds, split: str) -> Predictions:
    """Class probabilities of the clips of a split."""
    waves, ids = data.of(split)
    rows, classes = data.rows(split), data.classes
    shares = np.empty((0, len(classes)))
    if len(rows):
        shares = scorer.classify_waves(waves, ids, f"classifying {split} clips")
    clips = [data.clips[row] for row in rows]
    return Predictions([str(c.path) for c in clips], [c.label for c in clips], classes, data.label[rows], shares)
