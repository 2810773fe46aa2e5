"""Base of the tasks: fit what follows training, evaluate the test clips, compute the objective."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytorch_lightning as pl

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import assign_folds
from mimii_pl.backend.knn import KNN
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.diverse import Embedded, mean_diverse_auc
from mimii_pl.scoring.held_out import HeldOutScores, recording_names
from mimii_pl.scoring.objective import Objective, objective_value, other_ids_auc, validate_objective
from mimii_pl.scoring.results import Result
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.task._passes import thinned
from mimii_pl.threshold import Threshold

INTERIM_CLIPS = 32  # held-out clips per machine ID that the interim objective is computed on


class Task:
    """Base of the tasks; `task=` chooses one, and each run builds it once.

    Args:
        backend: computes scores from embeddings; None: the detector scores by itself.
        threshold: rule for the score above which a clip is called anomalous.
        target: what the classes are, such as `machine_id`.
        objective: what searches maximize, see `scoring.objective`; `criterion` is that of the task.
        names: `model` and `backend` as the user chose them, for messages; None: those of their modules.

    Attributes:
        criterion: name of the figure, computed from held-out clips, that runs are compared by; higher is better.
        checkpoint_rule: how the checkpoint is chosen, as tables and MLflow show it.
        is_classification: True if clips get classes rather than anomaly scores.
        page: False: the run has no page, which shows more than its results are computed from.
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
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.backend, self.threshold, self.target = backend, threshold, target
        self.objective: str = self.criterion if objective == "criterion" else objective
        self.names = dict(names or {})
        self.page = True
        self.held_out: HeldOutScores | None = None  # set by `fit` of some tasks

    def validate(self, detector: Detector, data: MachineSounds) -> None:
        """Raise InputError if the detector, the data or an option does not fit this task."""
        name = self.names.get("model", detector.name)
        if (
            detector.supports("classify")
            and not detector.divides_ids
            and not data.target
            and data.classes != data.labels
        ):
            raise InputError(
                f"dataset.classes=attributes: model={name} takes one class per machine ID. Set "
                "dataset.classes=machine_id, or model=dis_spec"
            )
        validate_objective(self.objective, detector, name, data.labels, self.backend is not None)

    def pass_clips(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> None:
        """Compute, before `fit`, what the page of the run begins with; most tasks need nothing."""

    def fit(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> float:
        """Fit what follows training, on training and held-out clips, and return the criterion."""
        raise NotImplementedError

    def evaluate(self, scorer: Scorer, data: MachineSounds, run_dir: Path) -> list[Result]:
        """Predict all test clips, only then read their labels, and write the results into the run directory."""
        raise NotImplementedError

    def interim(self, scorer: Scorer, data: MachineSounds) -> float:
        """Compute the criterion during training, on a few clips."""
        raise NotImplementedError

    def final_objective(self, scorer: Scorer, data: MachineSounds, criterion: float, run_dir: Path) -> float:
        """Compute the objective after `fit`; higher is better."""
        return objective_value(
            self.objective,
            loss=lambda: read_facts(run_dir)["validation_loss"],
            other_ids=lambda: other_ids_auc(self.held_out or scorer, *data.of("validation")),
            diverse=lambda: diverse_of(scorer, data),
            criterion=lambda: criterion,
        )

    def interim_objective(self, trainer: pl.Trainer, detector: pl.LightningModule) -> float:
        """Compute the objective during training, from the current weights; back ends are not fitted yet."""
        data: MachineSounds = trainer.datamodule  # type: ignore[attr-defined]  # Lightning does not declare it
        assert isinstance(detector, Detector)

        def scorer() -> Scorer:  # made only where it is needed: it moves the detector's weights to float32
            return Scorer(
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
            other_ids=lambda: other_ids_auc(scorer(), *interim_clips(data)),
            diverse=lambda: diverse_of(scorer(), data, INTERIM_CLIPS),
            criterion=lambda: self.interim(scorer(), data),
        )


def interim_clips(data: MachineSounds) -> tuple[ClipRows, np.ndarray]:
    """Choose at most `INTERIM_CLIPS` held-out clips per machine ID, evenly spaced; with machine ID numbers [N]."""
    rows = thinned(data.rows("validation"), INTERIM_CLIPS * len(data.labels))
    return ClipRows(data.waves, rows), data.machine_id[rows]


def diverse_of(scorer: Scorer, data: MachineSounds, most: int | None = None) -> float:
    """Compute `diverse_auc` of copies of the run's back end; without one, of the nearest neighbour by cosine.

    Embeddings that are not trained are cross-validated; for a trained detector, held-out clips are compared with
    training clips.

    Args:
        most: clips per machine ID of training and held-out clips each; None: all.
    """
    split: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    chosen = [thinned(data.rows(name), most and most * len(data.labels)) for name in split]
    rows, ids = np.concatenate(chosen), data.machine_id[np.concatenate(chosen)]
    clips = [data.clips[row] for row in rows]
    names = sorted({name for clip in clips for name in clip.attributes} - {"recording"})
    groups = {name: np.array([str(clip.attributes.get(name, "")) for clip in clips]) for name in names}
    groups["domain"] = np.array([clip.domain for clip in clips])
    backend = scorer.backend or KNN()
    windows = math.ceil(backend.limit / len(rows))  # where they are not pooled
    x = scorer.embed_waves(ClipRows(data.waves, rows), ids, "embedding normal clips", windows)
    trained = not scorer.detector.training_free
    halves = np.split(np.arange(len(rows)), [len(chosen[0])])
    fold = assign_folds(ids, recording_names(data, rows))
    crossed = [[np.flatnonzero(fold != number), np.flatnonzero(fold == number)] for number in range(fold.max() + 1)]
    parts = [halves] if trained else crossed
    return mean_diverse_auc(backend, Embedded(x, ids, groups), parts)
