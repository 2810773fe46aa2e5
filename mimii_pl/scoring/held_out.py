"""Normal clips scored by what was not fitted to them: for thresholds, and for pseudo-anomalies made from them."""

import math

import numpy as np

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import assign_folds, cross_scores
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.scoring.base_scorer import Clips
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.scoring.scorer import Scorer


class HeldOutScores:
    """The validation clips, which a trained detector and its back end have not seen.

    Attributes:
        clips: the validation clips, int16 [N, samples].
        ids: numbers of their machine IDs [N].
        labels: machine IDs by number.
        sample_rate: in Hz.
        scores: of the validation clips [N], if they are known already.
    """

    def __init__(self, scorer: Scorer, clips: ClipRows, ids: np.ndarray, scores: np.ndarray | None = None) -> None:
        self.scores = scores
        self.scorer, self.labels, self.sample_rate = scorer, scorer.labels, scorer.sample_rate
        self.clips, self.ids = clips, ids

    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Score the validation clips, or pseudo-anomalies made from them, [N]."""
        return self.scorer.score_waves(waves, ids, description)

    def normal_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Score the normal clips that thresholds rest on, [M]; the last ones are the validation clips. With IDs [M]."""
        return self.score_waves(self.clips, self.ids) if self.scores is None else self.scores, self.ids


class CrossFitted(HeldOutScores):
    """All normal clips, where the detector has no weights and its back end is fitted to all of them.

    No clip is lost to choosing a checkpoint that does not exist; each is scored by a copy of the back end that is
    fitted without its fold, and so are pseudo-anomalies made from it.

    Args:
        embeddings: of the training clips and then the validation clips, pooled as the back end requires.
    """

    def __init__(self, scorer: Scorer, data: MachineSounds, backend: BackEnd, embeddings: np.ndarray) -> None:
        super().__init__(scorer, *data.of("validation"))
        rows = np.concatenate([data.rows("train"), data.rows("validation")])
        self.every, self.every_id = ClipRows(data.waves, rows), data.machine_id[rows]
        self.folds = assign_folds(self.every_id, recording_names(data, rows))
        self.embeddings = embeddings
        self.copies = backend.cross_fit(embeddings, self.every_id, self.folds, domain_names(data, rows))

    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        folds = self.folds[len(self.folds) - len(self.ids) :]
        if isinstance(waves, PseudoAnomalies):
            folds = folds[waves.rows]
        return self.scorer.score_held_out(waves, ids, folds, self.copies, description)

    def normal_scores(self) -> tuple[np.ndarray, np.ndarray]:
        if self.embeddings.ndim == 2:
            return cross_scores(self.copies, self.embeddings, self.every_id, self.folds), self.every_id
        return self.scorer.score_held_out(self.every, self.every_id, self.folds, self.copies), self.every_id


def backend_embeddings(scorer: Scorer, backend: BackEnd, data: MachineSounds, means: np.ndarray) -> np.ndarray:
    """Compute what a back end is fitted to: pooled as it requires, few enough windows to stay within its limit.

    Args:
        means: embeddings of the training clips, and of the validation clips behind them if they are fitted to as well,
            averaged over windows, [N, D].
    """
    rows = np.concatenate([data.rows("train"), data.rows("validation")])[: len(means)]
    if backend.pool == "mean":
        return means
    ids = data.machine_id[rows]
    windows = math.ceil(backend.limit / np.unique(ids, return_counts=True)[1].min())  # those the smallest ID needs
    return scorer.embed_waves(ClipRows(data.waves, rows), ids, "embedding training clips", windows)


def recording_names(data: MachineSounds, rows: np.ndarray) -> list[str]:
    """List the recording that each clip was cut from."""
    return [data.clips[row].recording for row in rows]


def domain_names(data: MachineSounds, rows: np.ndarray) -> np.ndarray | None:
    """Return the domain of each clip [N]; None if none has one."""
    names = np.array([data.clips[row].domain for row in rows])
    return names if (names != "").any() else None
