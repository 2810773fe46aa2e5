"""The model of a monitor: sound of any source into clips, and many windows into scores at once."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mimii_pl.core.errors import damaged
from mimii_pl.dataset._audio import UnreadableClip, check_sound, fit_length, ratio_of, to_clip
from mimii_pl.deploy.score import Unusable
from mimii_pl.deploy.serving.onnx_scorer import OnnxScorer
from mimii_pl.deploy.serving.served import Served
from mimii_pl.scoring.timeline import score_windows
from mimii_pl.scoring.usual_sound import InputFigures, UsualSound, stored_sound, usual_inputs, usual_sound


class Scorable(Protocol):
    """A window that is ready to be scored."""

    clips: np.ndarray

    def set(self, number: int, score: float) -> None:
        """Take the score; the number is 0."""


class LiveModel(NamedTuple):
    """A model that scores the windows of stations.

    Attributes:
        served: the model.
        channel: that it hears: a number, `mean`, or `all`.
        full_scale: number in floating-point recordings that counts as full scale.
        sound: levels of the training clips, as they are stored; None: unknown.
    """

    served: Served
    channel: int | str
    full_scale: float
    sound: Mapping[str, Any] | None

    @classmethod
    def of(cls, served: Served) -> "LiveModel":
        """Add what a monitor needs of a model to it.

        Raises:
            InputError: the levels of its training clips are damaged.
        """
        scorer: Any = served.scorer
        if isinstance(scorer, OnnxScorer):
            facts = scorer.exported.facts
            with damaged(served.place / "model.json"):
                for label in scorer.labels:
                    usual_sound(facts.get("sound"), label)
            return cls(served, facts["channel"], float(facts["full_scale"]), facts.get("sound"))
        return cls(served, scorer.channel, scorer.full_scale, stored_sound(served.place))

    @property
    def held_out(self) -> Path:
        """Table of the held-out scores, where there is one."""
        return self.served.place / "held_out.csv"

    def usual(self, id_number: int) -> UsualSound | None:
        """Return the levels of the training clips of a machine ID; None: unknown."""
        return usual_sound(self.sound, self.label(id_number))

    def usual_inputs(self, id_number: int) -> list[InputFigures]:
        """Return the figures of the training clips of a machine ID; empty if they are not known."""
        return usual_inputs(self.sound, self.label(id_number))

    def label(self, id_number: int) -> str:
        """Return a machine ID by its number; of -1, where none is needed, the first."""
        return self.served.scorer.labels[max(0, id_number)]

    def clips(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Prepare a window as recordings are: int16 [C, T] at the rate of a source -> int16 [c, samples].

        Channels that are silent are left out.
        """
        scorer = self.served.scorer
        ratio = ratio_of(rate, scorer.sample_rate)
        frames = min(wave.shape[1], math.ceil(scorer.samples * ratio))
        heard = []
        for one in wave:
            try:
                if isinstance(scorer, OnnxScorer):
                    heard.append(scorer.exported.clip(one, frames, ratio, floating=False))
                    continue
                check_sound(one, frames)
                clip = to_clip(one, rate, scorer.sample_rate, scorer.samples, None)
                heard.append(fit_length(clip, scorer.samples))
            except (UnreadableClip, Unusable):
                continue
        return np.stack(heard) if heard else np.empty((0, scorer.samples), np.int16)

    def score(self, windows: Sequence[Scorable], ids: Sequence[int]) -> None:
        """Score windows of any stations, with the numbers of their machine IDs, in one batch, and set their scores."""
        batch: Any = [(window, 0, window.clips) for window in windows]
        score_windows(self.served.scorer, batch, np.array(ids))

    def p_value(self, score: float, id_number: int) -> float:
        """Return the p-value of a score of a machine ID; NaN of NaN."""
        if math.isnan(score):
            return math.nan
        thresholds = self.served.scorer.thresholds
        assert thresholds is not None
        return float(thresholds.p_value(np.array([score]), np.array([id_number]))[0])
