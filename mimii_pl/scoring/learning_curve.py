"""Learning curve: the sensitivity to faults in held-out normal clips against the minutes of normal sound."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import assign_folds
from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.scoring.held_out import domain_names, recording_names
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.sensitivity import ScoreWaves, measure_sensitivity, sensitivity_of

log = logging.getLogger(__name__)
MOST_HALVINGS = 8  # of the normal sound: points of a curve, less one


class CurvePoint(NamedTuple):
    """Sensitivity after learning from a part of the normal sound, without the recordings of a fold.

    Attributes:
        share: of the sound outside the fold, a power of 1/2.
        minutes: of sound per machine ID.
        clips: learned from, over all machine IDs.
        recordings: that these are of.
    """

    share: float
    minutes: float
    clips: int
    recordings: int
    fold: int
    sensitivity: float


class LearningCurve:
    """Normal clips of a detector that is not trained, whose back end is fitted to parts of them.

    The recordings are dealt to folds. The clips of a fold and faults put into them are scored by back ends that are
    fitted to ever smaller parts of the others, each within the next larger one: some recordings and the beginning of
    another, of every machine ID. Each clip is embedded once.

    Args:
        scorer: of the run.
        data: of the run, set up.
        folds: their number, at most that of the recordings.
        limit: number of clips of a fold that faults are put into; None: all.

    Raises:
        InputError: no machine ID has two normal recordings.
    """

    def __init__(self, scorer: Scorer, data: MachineSounds, *, folds: int = 5, limit: int | None = 64) -> None:
        assert scorer.backend is not None
        self.scorer, self.data, self.backend, self.limit = scorer, data, scorer.backend.unfitted(), limit
        self.rows = _of_several_recordings(data, np.concatenate([data.rows("train"), data.rows("validation")]))
        self.ids = data.machine_id[self.rows]
        self.recordings = np.array(recording_names(data, self.rows))
        self.domains = domain_names(data, self.rows)
        self.folds = assign_folds(self.ids, list(self.recordings), folds)
        self.embeddings = scorer.embed_waves(ClipRows(data.waves, self.rows), self.ids, "embedding clips")

    def points(self) -> list[CurvePoint]:
        """Measure the curve, the smallest share of each fold first."""
        return [point for fold in with_bar(range(int(self.folds.max()) + 1), "folds") for point in self._of_fold(fold)]

    def _of_fold(self, fold: int) -> Iterator[CurvePoint]:
        held_out = np.flatnonzero(self.folds == fold)
        faulty: list[np.ndarray] = []

        def embed(waves: PseudoAnomalies, ids: np.ndarray, description: str) -> np.ndarray:
            faulty.append(self.scorer.embed_waves(waves, ids))
            return np.zeros(len(waves))

        self._sensitivity(embed, held_out, np.zeros(len(held_out)))
        order = self._ordered(np.flatnonzero(self.folds != fold), fold)
        before = 0
        for share in (0.5**halvings for halvings in range(MOST_HALVINGS, -1, -1)):
            part = np.concatenate([own[: math.ceil(share * len(own))] for own in order])
            backend = self._fitted(part) if len(part) > before else None
            if backend is not None:
                before = len(part)
                value = self._measured(backend, held_out, faulty)
                first = self.data.recordings_of(self.rows[part], np.zeros(len(part)))[1]  # channels count once
                minutes = len(first) * self.scorer.seconds / 60 / len(order)
                yield CurvePoint(share, minutes, len(part), len(set(self.recordings[part])), fold, value)

    def _ordered(self, rows: np.ndarray, fold: int) -> list[np.ndarray]:
        """Return the clips of each machine ID, recording after recording, these in a random order."""
        rng, order = np.random.default_rng([0, fold]), []
        for id_ in np.unique(self.ids[rows]):
            own = rows[self.ids[rows] == id_]
            names = rng.permutation(np.unique(self.recordings[own]))
            order.append(np.concatenate([own[self.recordings[own] == name] for name in names]))
        return order

    def _fitted(self, part: np.ndarray) -> BackEnd | None:
        """Fit a back end to a part of the clips; None if they are too few for it."""
        backend = self.backend.unfitted()
        domains = None if self.domains is None else self.domains[part]
        try:
            backend.fit(self.embeddings[part], self.ids[part], domains, list(self.recordings[part]))
        except InputError as reason:
            log.debug("%d clips: %s", len(part), reason)
            return None
        return backend

    def _measured(self, backend: BackEnd, held_out: np.ndarray, faulty: Sequence[np.ndarray]) -> float:
        embedded = iter(faulty)
        normal = backend.score(self.embeddings[held_out], self.ids[held_out])
        return self._sensitivity(lambda _, ids, __: backend.score(next(embedded), ids), held_out, normal)

    def _sensitivity(self, score: ScoreWaves, held_out: np.ndarray, normal: np.ndarray) -> float:
        clips = ClipRows(self.data.waves, self.rows[held_out])
        form = self.data.labels, self.scorer.sample_rate, self.limit
        return sensitivity_of(measure_sensitivity(score, clips, self.ids[held_out], normal, *form))


def _of_several_recordings(data: MachineSounds, rows: np.ndarray) -> np.ndarray:
    """Keep the clips of the machine IDs that have two recordings or more; name the others."""
    names, ids = np.array(recording_names(data, rows)), data.machine_id[rows]
    few = [id_ for id_ in np.unique(ids) if len(np.unique(names[ids == id_])) < 2]
    labels = ", ".join(printable(data.labels[id_]) for id_ in few)
    kept = rows[~np.isin(ids, few)]
    if not len(kept):
        raise InputError(
            f"a learning curve holds recordings out: it takes two normal recordings of a machine ID, and {labels} "
            "have one. Record more, or in several pieces"
        )
    if few:
        log.warning("one recording of %s: not part of the curve", labels)
    return kept
