"""Score recordings with a finished run: `mimii_pl.load(run_dir).score("clip.wav", machine_id="id_00")`."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimii_pl.backend._backend import BackEnd, cross_scores, pool
from mimii_pl.core.bars import with_bar
from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _audio
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._clip import Batch
from mimii_pl.dataset._machine_id import MachineIds
from mimii_pl.model._detector import Detector
from mimii_pl.scoring.inputs import Audio, Heard, file_clip, machine_id_numbers, waveform_clip
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.threshold._threshold import Thresholds

log = logging.getLogger(__name__)
MachineId = str | int | Sequence[str | int] | None
Clips = np.ndarray | ClipRows | PseudoAnomalies  # int16 [N, samples], read batch by batch


class Decision(NamedTuple):
    """Scores and decisions of N clips."""

    score: np.ndarray  # [N], higher is more anomalous
    higher_than: np.ndarray  # [N] share of the held-out normal clips of the same machine ID with a lower score
    anomalous: np.ndarray  # [N] bool, above the threshold of the machine ID


class Scorer:
    """A trained detector with all that it needs to score recordings; made by `load`.

    `score`, `decide` and `classify` take audio: files or waveforms. The `*_waves` methods take clips as the cache holds
    them, int16 [N, samples], with the numbers of their machine IDs [N], their positions in `labels`; -1: unknown. Clips
    are read batch by batch, so they need not all be in memory. A `description` shows a progress bar.

    Attributes:
        labels: machine IDs seen in training, as `<machine>/<id>`.
        sample_rate: in Hz; other recordings are resampled.
        samples: length of a clip: longer recordings are cut at the end, shorter ones are repeated from the start.
        full_scale: number in floating-point recordings and waveforms that counts as full scale.
        classes: names of the classes that `classify` distinguishes; None: the run is not a classifier.
        backend: computes scores from embeddings; None: the detector scores by itself.
        machine_ids: how a file tells its machine ID.
        thresholds: one per machine ID, chosen from held-out normal clips; None before they are fitted.
    """

    def __init__(
        self,
        detector: Detector,
        features: torch.nn.Module,
        *,
        labels: list[str],
        classes: list[str] | None = None,
        sample_rate: int,
        samples: int,
        channel: int | str = 0,
        full_scale: float = 1.0,
        batch_size: int = 32,
        device: torch.device | str = "cpu",
        machine_ids: MachineIds | None = None,
    ) -> None:
        self.detector, self.features = detector.to(device).eval().float(), features.to(device)
        self.labels, self.classes = labels, classes
        self.machine_ids = machine_ids or MachineIds(labels)
        self.sample_rate, self.samples, self.channel, self.full_scale = sample_rate, samples, channel, full_scale
        self.batch_size, self.device = batch_size, torch.device(device)
        self.backend: BackEnd | None = None
        self.thresholds: Thresholds | None = None

    # --- files and waveforms -----------------------------------------------------------------------------------------
    def score(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> np.ndarray:
        """Return anomaly scores, one per clip [N]; higher is more anomalous.

        Args:
            audio: path, paths, or waveforms [T] or [N, T], int16, or float with the run's `full_scale` (1, unless it
                was set). Of recordings longer than a clip the beginning is scored, with a warning.
            rate: sampling frequency of waveforms in Hz; not needed for files.
            machine_id: ID that each clip is compared with, one for all clips or one each: `id_00`, or `fan/id_00`;
                None: the one that the path of a file tells. Not needed if there is only one, or if the detector does
                not use it.

        Raises:
            InputError: a file that cannot be read, an unknown machine ID, waveforms without a rate.

        >>> from mimii_pl.features.log_mel import LogMel
        >>> from mimii_pl.model.level import Level
        >>> features = LogMel(sample_rate=16000)
        >>> detector = Level(features.shape(8000), n_ids=1)  # untrained: distance from 0 dB
        >>> scorer = Scorer(detector, features, labels=["fan/id_00"], sample_rate=16000, samples=8000)
        >>> scorer.score(np.full((2, 8000), [[1.0], [0.1]]), rate=16000).round(2)
        array([ 0., 20.])
        """
        return self.score_waves(*self._clips(audio, rate, machine_id))

    def members(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> dict[str, np.ndarray]:
        """Return the score of each member of the back end, name -> [N]; the score of a clip is their mean.

        They are standardized: 0 is the median of the normal clips of the machine ID, and 1 a standard deviation above
        it (in logarithms where the member's scores are positive). Arguments and errors as for `score`.

        Raises:
            InputError: as for `score`, or the back end judges in one way only.
        """
        clips = self._clips(audio, rate, machine_id)
        return dict(zip(self.member_names, self.member_waves(*clips).T, strict=True))

    def decide(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> Decision:
        """Return scores, ranks among normal clips and decisions; arguments and errors as for `score`."""
        if self.thresholds is None:
            raise InputError("this run has no thresholds: it is of an earlier version. Train it again, or use score()")
        waves, ids = self._clips(audio, rate, machine_id)
        scores = self.score_waves(waves, ids)
        return Decision(scores, self.thresholds.rank(scores, ids), self.thresholds.decide(scores, ids).astype(bool))

    def classify(self, audio: Audio, *, rate: int | None = None) -> np.ndarray:
        """Return the probability of each of `classes`, [N, K]; audio as for `score`.

        Raises:
            InputError: as for `score`, or the run is not of task=classification.
        """
        if self.classes is None:
            raise InputError("this run computes anomaly scores: classify() needs a run of task=classification")
        waves = self.waves(audio, rate)
        return self.classify_waves(waves, np.full(len(waves), -1))

    def waves(self, audio: Audio, rate: int | None = None) -> np.ndarray:
        """Convert audio to clips, int16 [N, samples]."""
        if isinstance(audio, np.ndarray | Tensor):
            if rate is None:
                raise InputError("waveforms need their sampling frequency: score(waveform, rate=16000)")
            waves = np.atleast_2d(np.asarray(audio))
            if waves.ndim != 2:
                raise InputError(f"waveforms of shape {list(waves.shape)}: give one [T], or several [N, T]")
            form = self.sample_rate, self.samples, self.full_scale
            return self._stacked([waveform_clip(wave, rate, *form) for wave in waves])
        paths = [audio] if isinstance(audio, str | Path) else list(audio)
        if not all(isinstance(path, str | Path) for path in paths):
            raise InputError("audio is a path, paths, or an array or tensor of waveforms")
        return self._stacked([self.read(Path(path)) for path in paths])

    def _stacked(self, clips: list[Heard]) -> np.ndarray:
        if longer := sum(share < 1 for _, share in clips):
            text = "%d of %d recordings are longer than a clip of this run: only their first %.7g s are scored"
            log.warning(text, longer, len(clips), self.seconds)
        return np.stack([wave for wave, _ in clips]) if clips else np.empty((0, self.samples), np.int16)

    @property
    def seconds(self) -> float:
        """Length of a clip in s."""
        return self.samples / self.sample_rate

    def read(self, path: Path) -> Heard:
        """Read a file as a clip."""
        return file_clip(path, self.sample_rate, self.samples, self.channel, self.full_scale)

    def id_numbers(self, machine_id: str | int | Sequence[str | int | None] | None, clips: int) -> np.ndarray:
        """Return the numbers of machine IDs given by name, [clips]; -1 where none is needed."""
        return machine_id_numbers(machine_id, clips, self.labels, needed=self.detector.uses_machine_id)

    def _clips(self, audio: Audio, rate: int | None, machine_id: MachineId) -> tuple[np.ndarray, np.ndarray]:
        waves = self.waves(audio, rate)
        if machine_id is None and not isinstance(audio, np.ndarray | Tensor):
            paths = [audio] if isinstance(audio, str | Path) else audio
            return waves, self.id_numbers([self.machine_ids.of(Path(path)) for path in paths], len(waves))
        return waves, self.id_numbers(machine_id, len(waves))

    # --- clips as the cache holds them -------------------------------------------------------------------------------
    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return anomaly scores [N]."""
        if self.classes is not None:
            raise InputError("this run is a classifier: use classify(). Anomaly scores need a run of task=anomaly")
        score = self._detector_score if self.backend is None else self._backend_score
        return self._predict(score, waves, ids, description).astype(np.float64)

    @property
    def member_names(self) -> list[str]:
        """Names of the members whose mean the score is; empty if the run judges in one way only."""
        return self.backend.judges if self.backend is not None and self.backend.standardizes else []

    def member_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return the standardized score of each of the M members, [N, M]; errors as for `members`."""
        if not self.member_names:
            raise InputError(
                "the score of this run is not the mean of several members: that takes backend=committee, or "
                "backend.per_id=both"
            )
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

    def _detector_score(self, batch: Batch, rows: slice) -> Tensor:
        return self.detector.score(batch)

    def classify_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return the probability of each class, [N, K]."""
        return self._predict(lambda batch, _: self.detector.classify(batch), waves, ids, description).astype(np.float64)

    def predict_waves(self, waves: Clips, ids: np.ndarray) -> np.ndarray:
        """Return the predictions of the run: scores [N], or class probabilities [N, K]."""
        return self.score_waves(waves, ids) if self.classes is None else self.classify_waves(waves, ids)

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

    def _backend_score(self, batch: Batch, rows: slice) -> Tensor:
        assert self.backend is not None
        return torch.from_numpy(self.backend.score(*self._judged(batch)))

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
        batches = range(0, len(waves), self.batch_size)
        starts = with_bar(batches, description) if description else batches
        values: np.ndarray | None = None  # allocated once: small arrays kept from every batch would fragment the heap
        with torch.inference_mode():
            for start in starts:
                rows = slice(start, start + self.batch_size)
                part = function(self.batch(waves[rows], ids[rows]), rows).cpu().numpy()
                if values is None:
                    values = np.empty((len(waves), *part.shape[1:]), part.dtype)
                values[start : start + len(part)] = part
        return np.empty(0) if values is None else values

    def batch(self, waves: np.ndarray, ids: np.ndarray) -> Batch:
        """Make the batch that the detector gets, from clips int16 [B, samples] and machine ID numbers [B]."""
        wave = _audio.to_float(waves, self.device)
        number = torch.from_numpy(np.asarray(ids)).to(self.device)
        unknown = torch.full_like(number, -1)
        return Batch(wave, number, anomalous=unknown, clip=unknown, spec=self.features(wave))
