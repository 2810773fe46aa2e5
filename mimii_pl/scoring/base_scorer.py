"""The audio side of a scorer: from files and waveforms to clips, from scores to decisions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._channels import ALL_CHANNELS, Fusion, fuse_channels, split_channel
from mimii_pl.dataset._machine_id import MachineIds
from mimii_pl.scoring.inputs import Audio, Heard, channel_clips, file_clip, machine_id_numbers, waveform_clip
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.scoring.timeline import RELEASE, Timeline, Windows, make_timeline
from mimii_pl.threshold._threshold import Thresholds

log = logging.getLogger(__name__)
MachineId = str | int | Sequence[str | int] | None
Clips = np.ndarray | ClipRows | PseudoAnomalies  # int16 [N, samples], read batch by batch


class Decision(NamedTuple):
    """Scores and decisions of N clips."""

    score: np.ndarray  # [N], higher is more anomalous
    higher_than: np.ndarray  # [N] share of the held-out normal clips of the same machine ID with a lower score
    anomalous: np.ndarray  # [N] bool, above the threshold of the machine ID
    p_value: np.ndarray  # [N] (1 + held-out normal clips of the machine ID with no lower score) / (their number + 1)


class BaseScorer:
    """Base of the scorers, that of one detector and that of several runs: all that `load` may return.

    `score`, `decide` and `classify` take audio: files or waveforms. The `*_waves` methods take clips as the cache holds
    them, int16 [N, samples], with the numbers of their machine IDs [N], their positions in `labels`; -1: unknown. Clips
    are read batch by batch, so they need not all be in memory. A `description` shows a progress bar.

    A subclass implements `score_waves`, and `classify_waves` if it has classes.

    Attributes:
        labels: machine IDs seen in training, as `<machine>/<id>`.
        sample_rate: in Hz; other recordings are resampled.
        samples: length of a clip: longer recordings are cut at the end (see `timeline`), shorter ones repeated.
        channel: index of the microphone, `mean`, or `all`: the score of a recording is fused over its channels.
        fusion: how: `mean` or `max`.
        full_scale: number in floating-point recordings and waveforms that counts as full scale.
        classes: names of the classes that `classify` distinguishes; None: the run is not a classifier.
        machine_ids: how a file tells its machine ID.
        needs_id: whether scores depend on the machine ID.
        thresholds: one per machine ID, chosen from held-out normal clips; None before they are fitted.
    """

    def __init__(
        self,
        *,
        labels: list[str],
        classes: list[str] | None = None,
        sample_rate: int,
        samples: int,
        channel: int | str = 0,
        fusion: Fusion = "mean",
        full_scale: float = 1.0,
        batch_size: int = 32,
        device: torch.device | str = "cpu",
        machine_ids: MachineIds | None = None,
        needs_id: bool = True,
    ) -> None:
        self.labels, self.classes, self.needs_id = labels, classes, needs_id
        self.machine_ids = machine_ids or MachineIds(labels)
        self.sample_rate, self.samples, self.channel, self.full_scale = sample_rate, samples, channel, full_scale
        self.fusion: Fusion = fusion
        self.batch_size, self.device = batch_size, torch.device(device)
        self.thresholds: Thresholds | None = None

    # --- files and waveforms -----------------------------------------------------------------------------------------
    def score(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> np.ndarray:
        """Return anomaly scores, one per clip [N]; higher is more anomalous.

        Args:
            audio: path, paths, or waveforms [T] or [N, T], int16, or float with the run's `full_scale` (1, unless it
                was set). Of recordings longer than a clip the beginning is scored, with a warning; see `timeline`.
            rate: sampling frequency of waveforms in Hz; not needed for files.
            machine_id: ID that each clip is compared with, one for all clips or one each: `id_00`, or `fan/id_00`;
                None: the one that the path of a file tells. Not needed if there is only one, or if the detector does
                not use it.

        Raises:
            InputError: a file that cannot be read, an unknown machine ID, waveforms without a rate.

        >>> from mimii_pl.features.log_mel import LogMel
        >>> from mimii_pl.model.level import Level
        >>> from mimii_pl.scoring.scorer import Scorer
        >>> features = LogMel(sample_rate=16000)
        >>> detector = Level(features.shape(8000), n_ids=1)  # untrained: distance from 0 dB
        >>> scorer = Scorer(detector, features, labels=["fan/id_00"], sample_rate=16000, samples=8000)
        >>> scorer.score(np.full((2, 8000), [[1.0], [0.1]]), rate=16000).round(2)
        array([ 0., 20.])
        """
        waves, ids, owners = self._clips(audio, rate, machine_id)
        return self.over_channels(self.score_waves(waves, ids), owners)[0]

    def members(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> dict[str, np.ndarray]:
        """Return the score of each member of a committee or a fused run, name -> [N]; a clip's score is their mean.

        They are standardized: 0 is the median of the normal clips of the machine ID, and 1 a standard deviation above
        it (in logarithms where the member's scores are positive). Arguments and errors as for `score`.

        Raises:
            InputError: as for `score`, or the run judges in one way only.
        """
        waves, ids, owners = self._clips(audio, rate, machine_id)
        scores = self.over_channels(self.member_waves(waves, ids), owners)[0]
        return dict(zip(self.member_names, scores.T, strict=True))

    def decide(self, audio: Audio, *, rate: int | None = None, machine_id: MachineId = None) -> Decision:
        """Return scores, ranks among normal clips, decisions and p-values; arguments and errors as for `score`."""
        thresholds = self.require_thresholds()
        waves, of_channels, owners = self._clips(audio, rate, machine_id)
        scores, first = self.over_channels(self.score_waves(waves, of_channels), owners)
        ids = of_channels[first]
        decisions = thresholds.decide(scores, ids).astype(bool)
        return Decision(scores, thresholds.rank(scores, ids), decisions, thresholds.p_value(scores, ids))

    def timeline(
        self,
        path: str | Path,
        *,
        hop: float | None = None,
        release: float = RELEASE,
        machine_id: str | int | None = None,
    ) -> Timeline:
        """Score a recording of any length window by window, and find the events in it; memory does not grow with it.

        Windows are clips, and a recording no longer than one has one window, whose score is that of `score`.

        Args:
            path: the recording.
            hop: s from the start of a window to that of the next; None: half a clip.
            release: an event ends where the score falls below this share of the way from the median of the held-out
                normal clips to the threshold.
            machine_id: ID that it is compared with, as for `score`.

        Raises:
            InputError: as for `decide`, or the hop is longer than a clip.
        """
        windows = Windows.of(self.seconds, hop, release)
        self.require_thresholds()
        name = machine_id if machine_id is not None else self.machine_ids.of(Path(path))
        return make_timeline(self, Path(path), windows, int(self.id_numbers(name, 1)[0]))

    def require_thresholds(self) -> Thresholds:
        """Return the thresholds.

        Raises:
            InputError: the run is a classifier, or of an earlier version.
        """
        if self.classes is not None:
            raise InputError("this run is a classifier: use classify(). Decisions need a run of task=anomaly")
        if self.thresholds is None:
            raise InputError("this run has no thresholds: it is of an earlier version. Train it again, or use score()")
        return self.thresholds

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
        """Convert audio to clips, int16 [N, samples]; with `channel=all`, the channels of each recording."""
        return self._stacked(self._heard(audio, rate))

    def _heard(self, audio: Audio, rate: int | None) -> list[Heard]:
        if isinstance(audio, np.ndarray | Tensor):
            if rate is None:
                raise InputError("waveforms need their sampling frequency: score(waveform, rate=16000)")
            waves = np.atleast_2d(np.asarray(audio))
            if waves.ndim != 2:
                raise InputError(f"waveforms of shape {list(waves.shape)}: give one [T], or several [N, T]")
            form = self.sample_rate, self.samples, self.full_scale
            return [waveform_clip(wave, rate, *form) for wave in waves]
        paths = [audio] if isinstance(audio, str | Path) else list(audio)
        if not all(isinstance(path, str | Path) for path in paths):
            raise InputError("audio is a path, paths, or an array or tensor of waveforms")
        return [self.read(Path(path)) for path in paths]

    def _stacked(self, clips: list[Heard]) -> np.ndarray:
        if longer := sum(share < 1 for _, share in clips):
            text = "%d of %d recordings are longer than a clip of this run: only their first %.7g s are scored"
            text += "; timeline() scores one in full"
            log.warning(text, longer, len(clips), self.seconds)
        return np.concatenate([np.empty((0, self.samples), np.int16), *(np.atleast_2d(wave) for wave, _ in clips)])

    @property
    def seconds(self) -> float:
        """Length of a clip in s."""
        return self.samples / self.sample_rate

    def read(self, path: Path) -> Heard:
        """Read a file as a clip; with `channel=all`, as the clips of its channels, [C, samples]."""
        if split_channel(path, self.channel)[1] == ALL_CHANNELS:
            return channel_clips(path, self.sample_rate, self.samples, self.full_scale)
        return file_clip(path, self.sample_rate, self.samples, self.channel, self.full_scale)

    def id_numbers(self, machine_id: str | int | Sequence[str | int | None] | None, clips: int) -> np.ndarray:
        """Return the numbers of machine IDs given by name, [clips]; -1 where none is needed."""
        return machine_id_numbers(machine_id, clips, self.labels, needed=self.needs_id)

    def over_channels(self, values: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuse scores [W, ...] of channels by recording, [N, ...]; return the row of each recording's first one [N].

        Args:
            owners: number of the recording of each channel, [W].
        """
        return fuse_channels(values, owners.tolist(), self.fusion)

    def _clips(
        self, audio: Audio, rate: int | None, machine_id: MachineId
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return clips [W, samples], the numbers of their machine IDs [W] and of their recordings [W]."""
        heard = self._heard(audio, rate)
        told: str | int | Sequence[str | int | None] | None = machine_id
        if machine_id is None and not isinstance(audio, np.ndarray | Tensor):
            told = [self.machine_ids.of(Path(path)) for path in ([audio] if isinstance(audio, str | Path) else audio)]
        channels = [len(np.atleast_2d(wave)) for wave, _ in heard]
        ids = np.repeat(self.id_numbers(told, len(heard)), channels)
        return self._stacked(heard), ids, np.repeat(np.arange(len(heard)), channels)

    @property
    def batches_at_once(self) -> int:
        """Batches that are computed at a time; of several, each by one thread."""
        return 1

    @property
    def member_names(self) -> list[str]:
        """Names of the members whose mean the score is; empty if the run judges in one way only."""
        return []

    @property
    def member_weights(self) -> np.ndarray:
        """Weight of each member in the mean, [M]."""
        return np.ones(len(self.member_names))

    # --- clips as the cache holds them -------------------------------------------------------------------------------
    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return anomaly scores [N]."""
        raise NotImplementedError

    def member_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return the standardized score of each of the M members, [N, M]; errors as for `members`."""
        raise InputError(
            "the score of this run is not the mean of several members: that takes backend=committee, "
            "backend.per_id=both, or a fused run"
        )

    def classify_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Return the probability of each class, [N, K]."""
        raise NotImplementedError

    def predict_waves(self, waves: Clips, ids: np.ndarray) -> np.ndarray:
        """Return the predictions of the run: scores [N], or class probabilities [N, K]."""
        return self.score_waves(waves, ids) if self.classes is None else self.classify_waves(waves, ids)
