"""The objective that searches maximize and sweeps are ranked by: from held-out clips only, without test labels."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.model import Detector
from mimii_pl.scoring.base_scorer import Clips
from mimii_pl.scoring.held_out import HeldOutScores
from mimii_pl.scoring.metrics import arithmetic_mean, auc
from mimii_pl.scoring.scorer import Scorer

Objective = Literal["sensitivity", "diverse", "other_ids", "loss", "balanced_accuracy", "criterion"]


def validate_objective(objective: str, detector: Detector, model: str, labels: list[str], has_backend: bool) -> None:
    """Raise InputError if the objective is meaningless for this detector.

    Args:
        model: name of the detector, for the message.
        labels: machine IDs of the training clips.
    """
    if objective == "balanced_accuracy":
        raise InputError(
            "objective=balanced_accuracy needs classes: with task=anomaly use sensitivity, diverse, other_ids or loss"
        )
    if objective == "diverse" and not detector.has_embedding:
        raise InputError(f"objective=diverse needs embeddings, and model={model} has none: use objective=sensitivity")
    if objective != "other_ids":
        return
    if len(labels) < 2:
        raise InputError(f"objective=other_ids needs at least two machine IDs, and there is only {labels[0]}")
    if not (detector.uses_machine_id or has_backend):
        raise InputError(
            f"objective=other_ids: model={model} scores clips without regard to their machine ID, so a clip of "
            "another machine is no anomaly to it. Use objective=sensitivity or loss, or a back end, which scores per "
            "machine ID"
        )


def objective_value(
    name: str,
    *,
    loss: Callable[[], float],
    other_ids: Callable[[], float],
    diverse: Callable[[], float],
    criterion: Callable[[], float],
) -> float:
    """Compute the objective of this name, and nothing else; higher is better.

    Args:
        loss: computes the validation loss.
        other_ids: computes `other_ids_auc`.
        diverse: computes `diverse_auc`.
        criterion: computes the criterion of the task, whatever its name.
    """
    if name == "loss":
        return -loss()
    return {"other_ids": other_ids, "diverse": diverse}.get(name, criterion)()


def other_ids_auc(scorer: Scorer | HeldOutScores, clips: Clips, ids: np.ndarray) -> float:
    """Return the mean over machine IDs of the AUC of its held-out clips against those of all other IDs.

    All clips are scored as if they were of that machine ID.
    """
    own, count = scorer.score_waves(clips, ids), len(scorer.labels)
    shifted = [(ids + step) % count for step in range(1, count)]
    scores = np.concatenate([scorer.score_waves(clips, wrong, "scoring clips of other IDs") for wrong in shifted])
    wrong_ids = np.concatenate(shifted)
    aucs = []
    for number in np.unique(ids):
        others, normal = scores[wrong_ids == number], own[ids == number]
        aucs.append(auc(np.repeat([0, 1], [len(normal), len(others)]), np.concatenate([normal, others])))
    return arithmetic_mean(aucs)
