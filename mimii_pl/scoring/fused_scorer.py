"""Score recordings with several runs: the mean of their standardized scores."""

from collections.abc import Mapping

import numpy as np

from mimii_pl.backend._backend import log_scores, median_and_std
from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.scoring.base_scorer import BaseScorer, Clips
from mimii_pl.scoring.inputs import waveform_clip
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.threshold._threshold import POOLED, Thresholds

SOFT_FROM = 3.0  # standard deviations, about, from which a standardized score counts by its logarithm
_WORDS = {
    "labels": "list of machine IDs",
    "channel": "dataset.channel",
    "fusion": "dataset.fuse_channels",
    "full_scale": "dataset.full_scale",
}


class Standard:
    """Standardizes the scores of a run by those of its held-out normal clips of the same machine ID.

    Args:
        thresholds: of the run, with the scores of its held-out normal clips. A machine ID with too few of them for a
            threshold of its own is standardized by those of all IDs, and so is an unknown one.
        positive: whether scores are standardized in logarithms, as none is below 0.
    """

    def __init__(self, thresholds: Thresholds, *, positive: bool) -> None:
        self.positive, self.labels = positive, thresholds.labels
        self.scales = {name: median_and_std(self._logged(normal)) for name, normal in thresholds.normal.items()}

    @classmethod
    def of(cls, scorer: Scorer) -> "Standard":
        """Return that of a finished run.

        Raises:
            InputError: the run has no thresholds, and so no held-out scores.
        """
        if scorer.thresholds is None:
            raise InputError("it has no thresholds.json, and so no scores of held-out normal clips")
        backend = scorer.backend
        signed = backend is not None and (backend.standardizes or not backend.positive)
        return cls(scorer.thresholds, positive=not signed and scorer.thresholds.normal[POOLED][0] >= 0)

    def __call__(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Standardize scores [N] of clips with these machine ID numbers [N].

        >>> standard = Standard(Thresholds({"all": [1.0, 2.0, 4.0]}, ["fan/id_00"]), positive=True)
        >>> standard(np.array([2.0, 4.0]), np.array([0, 0])).round(3)
        array([0.   , 1.225])
        """
        names = [self.labels[id_] if id_ >= 0 else POOLED for id_ in ids]
        scales = np.array([self.scales.get(name, self.scales[POOLED]) for name in names]).reshape(-1, 2)
        return (self._logged(np.asarray(scores, float)) - scales[:, 0]) / scales[:, 1]

    def _logged(self, scores: np.ndarray) -> np.ndarray:
        return log_scores(scores) if self.positive else scores


class FusedScorer(BaseScorer):
    """Several runs that judge a clip together, like the members of `backend=committee`; made by `load`.

    Each member has its own features. One of a lower sampling frequency, or of shorter clips, hears a clip resampled, or
    its beginning.

    Args:
        members: name -> scorer of a run, all with the same machine IDs.
        weights: name -> weight of its scores in the mean.
        soft: standardized scores z count as 3 asinh(z / 3), so that no run outvotes the others where it is far out;
            False: as they are, as in runs fused by earlier versions.

    Raises:
        InputError: the members do not fit together.
    """

    def __init__(self, members: Mapping[str, Scorer], weights: Mapping[str, float], *, soft: bool = True) -> None:
        first = next(iter(members.values()))
        for name, member in members.items():
            for what in ("labels", "channel", "fusion", "full_scale"):
                if getattr(member, what) != getattr(first, what):
                    values = f"{getattr(member, what)}, that of the first member is {getattr(first, what)}"
                    raise InputError(f"member {name} does not fit: its {_WORDS[what]} is {values}")
            if member.classes is not None:
                raise InputError(f"member {name} does not fit: it is a classifier (task=classification)")
        rate = max(member.sample_rate for member in members.values())
        super().__init__(
            labels=first.labels,
            sample_rate=rate,
            samples=max(round(member.samples * rate / member.sample_rate) for member in members.values()),
            channel=first.channel,
            fusion=first.fusion,
            full_scale=first.full_scale,
            batch_size=first.batch_size,
            device=first.device,
            machine_ids=first.machine_ids,
            needs_id=any(member.needs_id for member in members.values()),
        )
        self.runs, self.standards = dict(members), {name: Standard.of(member) for name, member in members.items()}
        self.soft = soft
        self.weights = np.array([weights[name] for name in members])

    @property
    def member_names(self) -> list[str]:
        return list(self.runs)

    @property
    def member_weights(self) -> np.ndarray:
        return self.weights

    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        return self.fuse(self.member_waves(waves, ids, description).T)

    def member_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        starts: range = range(0, len(waves), self.batch_size)
        scores = np.empty((len(waves), len(self.runs)), np.float64)
        for start in with_bar(starts, description) if description else starts:
            rows = slice(start, start + self.batch_size)
            part = waves[rows]
            for place, (name, run) in enumerate(self.runs.items()):
                own = run.score_waves(self.heard_by(run, part), ids[rows])
                scores[rows, place] = self.standardized(name, own, ids[rows])
        return scores

    def standardized(self, name: str, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Standardize scores [N] of a member, of clips with these machine ID numbers [N]."""
        values = self.standards[name](scores, ids)
        return SOFT_FROM * np.arcsinh(values / SOFT_FROM) if self.soft else values

    def fuse(self, standardized: np.ndarray) -> np.ndarray:
        """Compute the mean over members of their standardized scores [M, ...], by their weights."""
        return np.average(standardized, axis=0, weights=self.weights)

    def heard_by(self, member: Scorer, waves: np.ndarray) -> np.ndarray:
        """Convert clips int16 [N, samples] to those of a member, which may be shorter, or of a lower rate."""
        if (member.sample_rate, member.samples) == (self.sample_rate, self.samples):
            return waves
        form = member.sample_rate, member.samples
        return np.stack([waveform_clip(wave, self.sample_rate, *form).wave for wave in waves])
