"""What a search maximises and a sweep is ranked by: one number made of held-out clips; no test label enters it."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.model import Detector
from mimii_pl.scoring.metrics import arithmetic_mean, auc
from mimii_pl.scoring.scorer import Clips, Scorer

Objective = Literal["criterion", "other_ids", "loss"]
RANKED_BY = {  # in the words of the leaderboard
    "criterion": "the AUC of pseudo-anomalies on held-out normal clips",
    "other_ids": "the AUC of held-out normal clips of other machine IDs, presented as this one's",
    "loss": "the validation loss on held-out clips, its sign changed",
}


def validate_objective(name: Objective, detector: Detector, labels: list[str], has_backend: bool) -> None:
    """Raise InputError where the objective says nothing about this detector.

    Args:
        labels: machine IDs of the training clips.
    """
    if name != "other_ids":
        return
    if len(labels) < 2:
        raise InputError(f"objective=other_ids needs two machine IDs at least, there is {labels[0]} alone")
    if not (detector.uses_machine_id or has_backend):
        raise InputError(
            f"objective=other_ids: model={detector.name} scores a clip without asking which machine it is, so that "
            "another machine's clip is no anomaly to it. Use objective=criterion or loss, or a back end that scores "
            "per machine ID"
        )


def objective_value(
    name: Objective, *, loss: Callable[[], float], other_ids: Callable[[], float], criterion: Callable[[], float]
) -> float:
    """The objective of this name, higher is better; nothing but what it needs is computed.

    Args:
        loss: computes the validation loss.
        other_ids: computes `other_ids_auc`.
        criterion: computes the task's own criterion.
    """
    if name == "loss":
        return -loss()
    return other_ids() if name == "other_ids" else criterion()


def other_ids_auc(scorer: Scorer, clips: Clips, ids: np.ndarray) -> float:
    """Mean over machine IDs of the AUC of held-out clips against those of every other ID, scored as if its own."""
    own, count = scorer.score_waves(clips, ids), len(scorer.labels)
    claims = [(ids + step) % count for step in range(1, count)]
    scores = np.concatenate([scorer.score_waves(clips, claim, "scoring other IDs' clips") for claim in claims])
    claimed = np.concatenate(claims)
    aucs = []
    for number in np.unique(ids):
        others, normal = scores[claimed == number], own[ids == number]
        aucs.append(auc(np.repeat([0, 1], [len(normal), len(others)]), np.concatenate([normal, others])))
    return arithmetic_mean(aucs)
