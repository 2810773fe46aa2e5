"""A back end fitted again, to normal clips of before and new ones, with scores of clips that it was not fitted to."""

from typing import NamedTuple

import numpy as np

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import assign_folds, cross_scores
from mimii_pl.backend.committee import Committee
from mimii_pl.core.errors import InputError
from mimii_pl.live.upkeep.k_centre import k_centre
from mimii_pl.live.upkeep.known import KnownClips, named_waves, pooled
from mimii_pl.scoring.base_scorer import Clips
from mimii_pl.scoring.metrics import auc
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.scoring.scorer import Scorer

NEW = "new"  # split of new clips, besides those of a run
PRIOR_FAULTS = 10  # faults that say all members are equally good, besides those that were marked


class Refitted(NamedTuple):
    """A back end that was fitted again.

    Attributes:
        kept: [N] bool, the clips that it is fitted to.
        folds: [N] fold of each clip that it is fitted to; -1: none.
        judges: a back end fitted without each fold, and last, where -1 finds it, the one fitted to all.
        scores: [N] of each clip by a back end that was not fitted to it; NaN for clips that weights were trained on.
    """

    kept: np.ndarray
    folds: np.ndarray
    judges: list[BackEnd]
    scores: np.ndarray

    @property
    def backend(self) -> BackEnd:
        """The one that is fitted to all that is kept."""
        return self.judges[-1]


def refit(
    scorer: Scorer, clips: KnownClips, ids: np.ndarray, *, limit: int | None, weights: dict | None = None
) -> Refitted:
    """Fit a copy of a run's back end to its normal clips and new ones, cross-validated.

    The run's own is not changed. As in a run, it is fitted to the training clips; where nothing is trained, to the
    validation clips as well. New clips were not heard in training: they are held out by folds, like all clips of a
    detector that is not trained.

    Args:
        clips: normal clips [N]: of the splits `train`, `validation` and `NEW`.
        ids: their machine ID numbers [N].
        limit: largest number of training and new clips of a machine ID that are kept, see `k_centre`; None: all.
        weights: of the members of a committee, by name; None: those it has.

    Raises:
        InputError: too few clips.
    """
    assert scorer.backend is not None
    backend, free = scorer.backend.unfitted(), scorer.detector.training_free
    if weights is not None:
        assert isinstance(backend, Committee)
        backend.weights = weights
    embeddings = pooled(scorer, backend, clips.names, ids, clips.means)
    kept = (clips.split != "validation") | free
    for id_ in np.unique(ids):
        own = np.flatnonzero((clips.split != "validation") & (ids == id_))
        if limit is not None and len(own) > limit:
            kept[np.delete(own, k_centre(clips.means[own], limit))] = False
    rows, folds = np.flatnonzero(kept), np.full(len(ids), -1)
    folds[rows] = assign_folds(ids[rows], [clips.recordings[row] for row in rows])
    if folds.max() < 1:
        raise InputError("all normal clips are of one recording: without another one, none can be held out")
    domains = clips.domains[rows] if (clips.domains[rows] != "").any() else None
    copies = backend.cross_fit(embeddings[rows], ids[rows], folds[rows], domains)
    judges = [*copies, backend]
    if embeddings.ndim == 2:
        scores = cross_scores(judges, embeddings, ids, folds)
    else:
        scores = scorer.score_held_out(named_waves(scorer, clips.names), ids, folds, judges, "scoring held-out clips")
    scores = scores.astype(np.float64)
    if not free:
        scores[clips.split == "train"] = np.nan
    return Refitted(kept, folds, judges, scores)


class HeldOutClips(NamedTuple):
    """Clips that faults are put into, with the folds that they are held out by; as `scoring.held_out.HeldOutScores`.

    Attributes:
        folds: [M].
        judges: of `Refitted`.
    """

    scorer: Scorer
    folds: np.ndarray
    judges: list[BackEnd]

    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Score the clips, or pseudo-anomalies made from them, [M]."""
        folds = self.folds[waves.rows] if isinstance(waves, PseudoAnomalies) else self.folds
        return self.scorer.score_held_out(waves, ids, folds, self.judges, description)


def oracle_weights(committee: Committee, standardized: np.ndarray, anomalous: np.ndarray) -> dict[str, float]:
    """Weigh the members of a committee by labelled faults: an oracle.

    A member's weight is 2 AUC - 1 of its own score, at least 0, averaged with 1 for `PRIOR_FAULTS` imagined faults: few
    marks change little.

    Args:
        standardized: score of each judge for held-out normal clips and faults [J, M].
        anomalous: [M] 1 for a fault, 0 for a normal clip; both occur.
    """
    faults, weights, row = int(anomalous.sum()), {}, 0
    for name, member in committee.members.items():
        own = standardized[row : row + len(member.judges)].mean(axis=0)
        row += len(member.judges)
        gain = max(0.0, 2 * auc(anomalous, own) - 1)
        weights[name] = round((gain * faults + PRIOR_FAULTS) / (faults + PRIOR_FAULTS), 4)
    return weights
