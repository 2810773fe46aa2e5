"""Base of the tasks: what a trained detector is asked for, and what it is evaluated by."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytorch_lightning as pl

from mimii_pl.backend import BackEnd
from mimii_pl.core.run_dir import read_facts
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.objective import Objective, objective_value, other_ids_auc, validate_objective
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.threshold import Threshold

INTERIM_CLIPS = 32  # held-out clips per machine ID that the interim objective is computed on


class Task:
    """Base of the tasks; `task=` chooses one, and a run builds it once.

    Args:
        backend: makes scores of embeddings; None: the detector scores by itself.
        threshold: rule that finds the score above which a clip is called anomalous.
        target: what classes are made of.
        objective: what searches maximise, see `scoring.objective`.

    Attributes:
        criterion: name of the number, made of held-out clips, that runs are compared by; higher is better.
        checkpoint_rule: how the checkpoint is chosen, in the words of the tables.
        is_classification: whether clips get classes rather than anomaly scores.
    """

    criterion: ClassVar[str]
    checkpoint_rule: ClassVar[str]
    is_classification: ClassVar[bool] = False

    def __init__(
        self,
        *,
        backend: BackEnd | None = None,
        threshold: Threshold | None = None,
        target: str = "machine_id",
        objective: Objective = "criterion",
    ) -> None:
        self.backend, self.threshold, self.target, self.objective = backend, threshold, target, objective

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        """Raise InputError where the detector, the data or an option does not fit this task."""
        validate_objective(self.objective, detector, data.labels, self.backend is not None)

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Fit everything that follows training on training and held-out clips, and return the criterion."""
        raise NotImplementedError

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        """Score every test clip, then, and only then, read the labels; write the results into the run directory."""
        raise NotImplementedError

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        """The criterion in the middle of training, on few clips."""
        raise NotImplementedError

    def final_objective(self, scorer: Scorer, data: MachineSounds, criterion: float, run_dir: Path) -> float:
        """The objective of a run that has been fitted, higher is better."""
        return objective_value(
            self.objective,
            loss=lambda: read_facts(run_dir)["validation_loss"],
            other_ids=lambda: other_ids_auc(scorer, *data.of("validation")),
            criterion=lambda: criterion,
        )

    def interim_objective(self, trainer: pl.Trainer, detector: Detector) -> float:
        """The objective in the middle of training, with the weights as they are; back ends are not fitted yet."""
        data: MachineSounds = trainer.datamodule
        scorer = Scorer(
            detector,
            data.features,
            labels=data.labels,
            classes=data.classes if data.target else None,
            sample_rate=data.sample_rate,
            samples=data.samples,
            batch_size=data.batch_size,
            device=detector.device,
        )
        return objective_value(
            self.objective,
            loss=lambda: float(trainer.callback_metrics["val/loss"]),
            other_ids=lambda: other_ids_auc(scorer, *interim_clips(data)),
            criterion=lambda: self.interim(scorer, data),
        )


def interim_clips(data: MachineSounds) -> tuple[ClipRows, np.ndarray]:
    """At most `INTERIM_CLIPS` held-out clips per machine ID, evenly spaced, and their machine ID numbers [N]."""
    rows = data.rows("validation")
    rows = rows[:: math.ceil(len(rows) / (INTERIM_CLIPS * len(data.labels)))]
    return ClipRows(data.waves, rows), data.machine_id[rows]
