"""Score recordings with a finished run: `mimii_pl.load(run_dir).score("clip.wav", machine_id="id_00")`."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimii_pl.backend._backend import BackEnd, cross_scores, pool
from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.core.threads import in_threads
from mimii_pl.dataset import _audio
from mimii_pl.dataset._clip import Batch
from mimii_pl.features import Spectral
from mimii_pl.model._detector import Detector
from mimii_pl.scoring.base_scorer import BaseScorer, Clips

Output = Literal["embedding", "score", "probability"]
CLIPS_PER_THREAD = 8  # at a time: enough for each thread to have some, and few enough for its cache


class OnePass(NamedTuple):
    """Outputs of one pass of N clips through features and detector; None: it was not asked for.

    Attributes:
        embedding: [N, D], averaged over windows.
        score: [N] of the detector itself.
        probability: [N, K] of each class.
    """

    embedding: np.ndarray | None = None
    score: np.ndarray | None = None
    probability: np.ndarray | None = None


class Scorer(BaseScorer):
    """A trained detector with all that it needs to score recordings; made by `load`.

    Args:
        detector: trained.
        features: of the waveforms.
        **audio: see `BaseScorer`, which also has the other attributes and methods.

    Attributes:
        backend: computes scores from embeddings; None: the detector scores by itself.
    """

    def __init__(self, detector: Detector, features: Spectral, **audio: Any) -> None:
        super().__init__(needs_id=detector.uses_machine_id, **audio)
        self.detector, self.features = detector.to(self.device).eval().float(), features.to(self.device)
        self.backend: BackEnd | None = None

    @property
    def batches_at_once(self) -> int:
        return torch.get_num_threads() if self._one_thread_per_batch else 1

    @property
    def _one_thread_per_batch(self) -> bool:
        return self.detector.one_thread_per_batch and self.device.type == "cpu"

    @property
    def _size(self) -> int:
        """Clips of a batch."""
        return min(self.batch_size, CLIPS_PER_THREAD) if self._one_thread_per_batch else self.batch_size

    # --- clips as the cache holds them -------------------------------------------------------------------------------
    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return anomaly scores [N]."""
        if self.classes is not None:
            raise InputError("this run is a classifier: use classify(). Anomaly scores need a run of task=anomaly")
        return self._predict(lambda batch, _: self._score(batch), waves, ids, description).astype(np.float64)

    def score_batch(self, batch: Batch) -> np.ndarray:
        """Return anomaly scores [B] of a batch as `batch` makes it, or of one with other features."""
        with torch.inference_mode():
            return self._score(batch).cpu().numpy().astype(np.float64)

    def _score(self, batch: Batch) -> Tensor:
        if self.backend is None:
            return self.detector.score(batch)
        return torch.from_numpy(self.backend.score(*self._judged(batch)))

    @property
    def member_names(self) -> list[str]:
        return self.backend.judges if self.backend is not None and self.backend.standardizes else []

    @property
    def member_weights(self) -> np.ndarray:
        weights = self.backend.judge_weights if self.backend is not None else None
        return super().member_weights if weights is None else np.array(weights)

    def member_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        if not self.member_names:
            return super().member_waves(waves, ids, description)
        return self._predict(self._member_scores, waves, ids, description).reshape(len(waves), len(self.member_names))

    def score_held_out(
        self,
        waves: Clips,
        ids: np.ndarray,
        folds: np.ndarray,
        copies: Sequence[BackEnd],
        description: str | None = None,
    ) -> np.ndarray:
        """Return anomaly scores [N] of clips that a back end was fitted to, or that were made from them.

        Args:
            folds: number of each clip's fold [N].
            copies: for each fold, a back end fitted to the clips outside of it (see `BackEnd.cross_fit`).
        """

        def score(batch: Batch, rows: slice) -> Tensor:
            return torch.from_numpy(cross_scores(copies, *self._judged(batch), folds[rows]))

        return self._predict(score, waves, ids, description)

    def classify_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return the probability of each class, [N, K]."""
        return self._predict(lambda batch, _: self.detector.classify(batch), waves, ids, description).astype(np.float64)

    def embed_waves(
        self, waves: Clips, ids: np.ndarray, description: str | None = None, windows: int | None = None
    ) -> np.ndarray:
        """Return embeddings, pooled over windows as the back end requires (without one: mean).

        Args:
            windows: maximum number of windows per clip, evenly spaced, if they are not pooled; None: all.

        Returns:
            [N, D], or [N, W, D] if the back end scores every window.
        """

        def embed(batch: Batch, _: slice) -> Tensor:
            embeddings = self._pooled(batch)
            if embeddings.ndim < 3 or not windows:
                return embeddings
            return embeddings[:, :: math.ceil(embeddings.shape[1] / windows)]

        return self._predict(embed, waves, ids, description)

    def pass_waves(
        self, waves: Clips, ids: np.ndarray, outputs: Sequence[Output], description: str | None = None
    ) -> OnePass:
        """Compute several outputs of the detector, a clip passing through features and network once for all."""
        functions: dict[Output, Callable[[Batch, slice], Tensor]] = {
            "embedding": lambda batch, _: pool(self.detector.embed(batch), "mean"),
            "score": lambda batch, _: self.detector.score(batch),
            "probability": lambda batch, _: self.detector.classify(batch),
        }
        if not outputs:
            return OnePass()
        with self.detector.one_pass():
            values = self._predict_all({name: functions[name] for name in outputs}, waves, ids, description)
        doubles = {name: value.astype(np.float64) for name, value in values.items() if name != "embedding"}
        return OnePass(values.get("embedding"), **doubles)

    def score_embeddings(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the anomaly scores [N] of a back end for embeddings that are pooled as it requires."""
        assert self.backend is not None
        score, size = self.backend.score, self._size
        parts = [slice(start, start + size) for start in range(0, len(ids), size)]
        scores = in_threads(lambda part: score(embeddings[part], ids[part]), parts, self.batches_at_once)
        return np.concatenate([np.empty(0), *scores])

    def use(self, backend: BackEnd | None) -> None:
        """Score with a back end, fitted already or later; None: with the detector."""
        self.backend = backend
        if backend is not None:
            backend.prepare(self.detector.views, self.device)

    def _pooled(self, batch: Batch) -> Tensor:
        back = self.backend
        embeddings = self.detector.embed(batch)
        if back is None:
            return pool(embeddings, "mean")
        return pool(embeddings, back.pool, gem_power=back.gem_power, rdp_gamma=back.rdp_gamma)

    def _member_scores(self, batch: Batch, rows: slice) -> Tensor:
        assert self.backend is not None
        embeddings, ids = self._judged(batch)
        return torch.from_numpy(self.backend.standardized(self.backend.judge(embeddings, ids), ids).T)

    def _judged(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return what a back end scores: pooled embeddings, and machine ID numbers [B]."""
        return self._pooled(batch).cpu().numpy(), batch.machine_id.cpu().numpy()

    def _predict(
        self, function: Callable[[Batch, slice], Tensor], waves: Clips, ids: np.ndarray, description: str | None
    ) -> np.ndarray:
        """Apply a function of the detector to every batch and its rows; the values of all clips, [N, ...]."""
        return self._predict_all({"": function}, waves, ids, description)[""]

    def _predict_all(
        self,
        functions: Mapping[str, Callable[[Batch, slice], Tensor]],
        waves: Clips,
        ids: np.ndarray,
        description: str | None,
    ) -> dict[str, np.ndarray]:
        """Apply several functions to every batch; name -> values of all clips, [N, ...]."""
        size = self._size

        @torch.inference_mode()
        def values_of(start: int) -> dict[str, np.ndarray]:
            rows = slice(start, start + size)
            batch = self.batch(waves[rows], ids[rows])
            return {name: function(batch, rows).cpu().numpy() for name, function in functions.items()}

        starts = range(0, len(waves), size)
        values: dict[str, np.ndarray] = {}  # allocated once: arrays kept from every batch would fragment the heap
        with closing(in_threads(values_of, starts, self.batches_at_once)) as computed:
            for start, parts in zip(with_bar(starts, description) if description else starts, computed, strict=True):
                for name, part in parts.items():
                    if name not in values:
                        values[name] = np.empty((len(waves), *part.shape[1:]), part.dtype)
                    values[name][start : start + len(part)] = part
        return {name: values.get(name, np.empty(0)) for name in functions}

    def batch(self, waves: np.ndarray, ids: np.ndarray) -> Batch:
        """Make the batch that the detector gets, from clips int16 [B, samples] and machine ID numbers [B]."""
        wave = _audio.to_float(waves, self.device)
        number = torch.from_numpy(np.asarray(ids)).to(self.device)
        unknown = torch.full_like(number, -1)
        return Batch(wave, number, anomalous=unknown, clip=unknown, spec=self.features(wave))
