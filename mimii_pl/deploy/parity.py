"""The gate that an exported model passes: it scores as the run does, and every decision is equal."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import ClipRows, MachineSounds
from mimii_pl.dataset._audio import FULL_SCALE, to_int16
from mimii_pl.scoring.base_scorer import Clips
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS, PseudoAnomalies
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.threshold._threshold import POOLED, Thresholds

TOLERANCE = 1e-3  # largest difference of scores, in standard deviations of held-out normal scores
FAR = 1e-3  # of a score is the unit, not the standard deviation, where that is less: float32 has no more digits
NOISE_FLOOR = 3  # steps of 16 bits: noise in clips with a fault, as any microphone adds
FEWEST_COMPARED = 200  # clips
MOST_AS_THEY_ARE = 60  # held-out clips without a fault, and as many test clips
FEWEST_PER_FAULT = 12
BATCH_SIZES = (1, 3)
TIES = ". These scores equal the threshold but for rounding: the run hardly tells clips apart, train it longer"


class ComparedClips(NamedTuple):
    """Clips to compare the scores of.

    Attributes:
        waves: int16 [N, samples].
        ids: numbers of their machine IDs [N]; -1: unknown.
        what: clips they are, in words.
        scores: of the run [N].
        normal: held-out normal clips as they are.
    """

    waves: Clips
    ids: np.ndarray
    what: str
    scores: np.ndarray
    normal: bool = False


class Parity(NamedTuple):
    """Result of a comparison.

    Attributes:
        clips: number of clips.
        difference: largest difference of scores, in standard deviations of held-out normal scores of the machine ID, or
            in thousandths of a score that is more than a thousand of them.
        changed: number of decisions that differ.
        worst: the clip with the largest difference, in words.
    """

    clips: int
    difference: float
    changed: int
    worst: str

    @property
    def passed(self) -> bool:
        """True if the model may be used in place of the run."""
        return self.difference <= TOLERANCE and not self.changed

    def __str__(self) -> str:
        return (
            f"of {self.clips} clips, scores differ by up to {self.difference:.2g} standard deviations of held-out "
            f"normal scores ({self.worst}) and {self.changed} decisions change"
        )


class MixedClips(ClipRows):
    """Clips that a back end is not fitted to, where it is fitted to all normal clips: the sums of two of them.

    Of a clip that it knows the distance to the nearest one is 0, and its logarithm rounding noise.

    Args:
        waves: clips int16 [N, T].
        ids: numbers of their machine IDs [N]; each is added to another one of its ID, played backwards.
    """

    def __init__(self, waves: ClipRows, ids: np.ndarray) -> None:
        super().__init__(waves, np.arange(len(ids)))
        self.partner = np.empty(len(ids), int)
        for id_ in np.unique(ids):
            own = np.flatnonzero(ids == id_)
            self.partner[own] = np.roll(own, 1)

    def __getitem__(self, index: slice | np.ndarray | int) -> np.ndarray:
        total = super().__getitem__(index).astype(np.float32) + self.waves[self.partner[index]][..., ::-1]
        return to_int16(total / (math.sqrt(2) * np.float32(FULL_SCALE)))


class NoisyAnomalies(PseudoAnomalies):
    """Clips with a synthetic fault and the noise of a microphone.

    A clip that is played slower has an empty band, whose level in dB is the rounding noise of whoever computes it.
    """

    def __getitem__(self, part: slice) -> np.ndarray:
        clips = super().__getitem__(part).astype(np.float32)
        for clip, place in zip(clips, range(*part.indices(len(self))), strict=True):
            clip += NOISE_FLOOR * np.random.default_rng([self.fault, place]).standard_normal(len(clip))
        return to_int16(clips / np.float32(FULL_SCALE))


def gate_trials(scorer: Scorer, data: MachineSounds) -> list[ComparedClips]:
    """Choose held-out clips, as they are and with synthetic faults, at least `FEWEST_COMPARED`, and score them.

    Of test clips no label is read.
    """
    clips, ids = data.of("validation")
    if scorer.backend is not None and scorer.detector.training_free:
        clips = MixedClips(clips, ids)
    normal = _spread_over(len(ids), MOST_AS_THEY_ARE)
    trials = [_trial(scorer, clips[normal], ids[normal], "as it is")._replace(normal=True)]
    tests, test_ids = data.of("test")
    rows = _spread_over(len(test_ids), MOST_AS_THEY_ARE)
    if len(rows):
        trials.append(_trial(scorer, tests[rows], test_ids[rows], "of the test split"))
    missing = FEWEST_COMPARED - sum(len(trial.ids) for trial in trials)
    per_fault = max(FEWEST_PER_FAULT, math.ceil(missing / len(PSEUDO_FAULTS)))
    for number, fault in enumerate(PSEUDO_FAULTS):
        rows = np.linspace(0, len(ids) - 1, per_fault).astype(int)
        grades = np.arange(per_fault) % len(fault.severities)
        waves = NoisyAnomalies(clips, number, grades, scorer.sample_rate, rows)
        trials.append(_trial(scorer, waves, ids[rows], f"with {fault.name}"))
    unknown = trials[-1].waves
    return [*trials, _trial(scorer, unknown, np.full(len(unknown), -1), "of an unknown machine ID")]


def _spread_over(count: int, most: int) -> np.ndarray:
    """Return at most so many of `count` rows, evenly spaced."""
    return np.arange(min(count, most)) * count // max(1, min(count, most))


def _trial(scorer: Scorer, waves: Clips, ids: np.ndarray, what: str) -> ComparedClips:
    return ComparedClips(waves, ids, what, scorer.score_waves(waves, ids))


def session_scores(session: Any, trial: ComparedClips, size: int) -> np.ndarray:
    """Score the clips of a trial with onnxruntime, `size` at a time, [N]."""
    inputs = {entry.name for entry in session.get_inputs()}
    parts = []
    for start in range(0, len(trial.ids), size):
        rows = slice(start, start + size)
        wave = trial.waves[rows] / np.float32(FULL_SCALE)
        feeds = {"wave": wave, "machine_id": trial.ids[rows].astype(np.int64)}
        parts.append(session.run(["score"], {name: feeds[name] for name in inputs})[0])
    return np.concatenate(parts)


def compare_scores(trials: list[ComparedClips], session: Any, thresholds: Thresholds) -> Parity:
    """Compare the scores and decisions of a model with those of the run, in batches of several sizes."""
    scales = {name: _spread(thresholds, name) for name in (*thresholds.labels, POOLED)}
    largest, changed, worst, count = 0.0, 0, "", 0
    for trial in trials:
        names = [thresholds.labels[id_] if id_ >= 0 else POOLED for id_ in trial.ids]
        scale = np.array([scales[name] for name in names])
        decisions = thresholds.decide(trial.scores, trial.ids)
        count += len(trial.ids)
        for size in BATCH_SIZES:
            scores = session_scores(session, trial, size)
            changed += int((thresholds.decide(scores, trial.ids) != decisions).sum())
            difference = np.abs(scores - trial.scores) / np.maximum(scale, FAR * np.abs(trial.scores))
            difference[np.isnan(difference)] = np.inf
            if difference.max() >= largest:
                at = int(difference.argmax())
                largest = float(difference[at])
                values = f"{scores[at]:.7g} for {trial.scores[at]:.7g}"
                worst = f"a clip of {names[at]} {trial.what}: {values}, in batches of {size}"
    return Parity(count, largest, changed, worst)


def between_scores(thresholds: Thresholds, trials: list[ComparedClips]) -> Thresholds:
    """Move each threshold up, by at most half the tolerance, to the middle of the gap below the next known score.

    A threshold may be one of the held-out scores, and rounding must not decide on which side of it that clip is. No
    decision on a known score changes.
    """
    moved: Mapping[str, float] = {
        name: limit + _gap(limit, _known(thresholds, trials, name), TOLERANCE * _spread(thresholds, name)) / 2
        for name, limit in thresholds.thresholds.items()
    }
    return Thresholds(thresholds.normal, thresholds.labels, moved, thresholds.origin)


def _gap(limit: float, known: np.ndarray, most: float) -> float:
    above = known[known > limit]
    return float(min(above.min() - limit, most)) if len(above) else most


def _known(thresholds: Thresholds, trials: list[ComparedClips], name: str) -> np.ndarray:
    """Return all scores that are compared with a threshold."""
    own: list[np.ndarray] = [thresholds.normal.get(name, thresholds.normal[POOLED])]
    for trial in trials:
        rows = [
            id_ < 0 or thresholds.labels[id_] not in thresholds.thresholds
            if name == POOLED
            else thresholds.labels[id_] == name
            for id_ in trial.ids
        ]
        own.append(trial.scores[rows])
    return np.concatenate(own)


def _spread(thresholds: Thresholds, name: str) -> float:
    """Return the standard deviation of the held-out normal scores of a machine ID; of all IDs where it has no own."""
    for scores in (thresholds.normal.get(name, thresholds.normal[POOLED]), thresholds.normal[POOLED]):
        if (std := float(scores.std())) > 0:
            return std
    return 1.0


def require_parity(parity: Parity, front_end: str) -> None:
    """Raise InputError if a model may not be used in place of the run."""
    if not parity.passed:
        reason = TIES if parity.difference <= TOLERANCE else ""
        raise InputError(
            f"the exported model does not score as the run does, and nothing was left: {parity} "
            f"(front_end={front_end}; the limit is {TOLERANCE:g} and no decision){reason}"
        )
