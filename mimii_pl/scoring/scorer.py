"""Score audio with a finished run: `mimii_pl.load(run_dir).score("clip.wav", machine_id="id_00")`."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mimii_pl.backend._backend import BackEnd, pool
from mimii_pl.core.config import build, class_of, read_config, refuse_strangers
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import read_arrays
from mimii_pl.core.run_dir import find_run, read_facts
from mimii_pl.dataset import _audio
from mimii_pl.dataset._cache import ClipRows
from mimii_pl.dataset._clip import Batch
from mimii_pl.features._spectral import Statistics
from mimii_pl.model._detector import Detector
from mimii_pl.scoring.pseudo_anomaly import PseudoAnomalies
from mimii_pl.threshold._threshold import Thresholds

Audio = str | Path | Sequence[str | Path] | np.ndarray | Tensor
Clips = np.ndarray | ClipRows | PseudoAnomalies  # int16 [N, samples], read batch by batch


class Decision(NamedTuple):
    """What is said of N clips."""

    score: np.ndarray  # [N], higher is more anomalous
    higher_than: np.ndarray  # [N] share of the held-out normal clips of its machine ID that it scores higher than
    anomalous: np.ndarray  # [N] bool, above the threshold of its machine ID


class Scorer:
    """A trained detector with all that it needs to judge a recording. Made by `load`.

    Attributes:
        labels: machine IDs it was trained on, as `<machine>/<id>`.
        sample_rate: in Hz; other recordings are resampled.
        classes: names of the classes that `classify` tells apart; None: it is no classifier's run.
        samples: length of a clip: longer recordings are cut at their end, shorter ones repeated from their start.
        thresholds: from held-out normal clips, per machine ID; `decide` and `rank` scores. None before they are fitted.
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
        batch_size: int = 32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.detector, self.features = detector.to(device).eval().float(), features.to(device)
        self.labels, self.classes = labels, classes
        self.sample_rate, self.samples, self.channel = sample_rate, samples, channel
        self.batch_size, self.device = batch_size, torch.device(device)
        self.backend: BackEnd | None = None
        self.thresholds: Thresholds | None = None

    def score(
        self, audio: Audio, *, rate: int | None = None, machine_id: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """Anomaly scores, one per clip [N]; higher is more anomalous.

        Args:
            audio: path, paths, or waveforms [T] or [N, T], float in full scale 1 or int16.
            rate: sampling frequency of waveforms in Hz; not needed for files.
            machine_id: ID to judge against, one for all clips or one each: `id_00`, or `fan/id_00`. May be left out
                where there is only one, or where the detector does not use it.

        Raises:
            InputError: a file that cannot be read, an unknown machine ID, waveforms without a rate.
        """
        waves = self.waves(audio, rate)
        return self.score_waves(waves, self.id_numbers(machine_id, len(waves)))

    def decide(
        self, audio: Audio, *, rate: int | None = None, machine_id: str | Sequence[str] | None = None
    ) -> Decision:
        """Scores with what they mean for the machine: arguments and errors as for `score`."""
        if self.thresholds is None:
            raise InputError("this run has no thresholds: it is of an earlier version. Train it again, or use score()")
        waves = self.waves(audio, rate)
        ids = self.id_numbers(machine_id, len(waves))
        scores = self.score_waves(waves, ids)
        return Decision(scores, self.thresholds.rank(scores, ids), self.thresholds.decide(scores, ids).astype(bool))

    def classify(self, audio: Audio, *, rate: int | None = None) -> np.ndarray:
        """Probability of each of `classes`, [N, K]: audio as for `score`.

        Raises:
            InputError: as for `score`; the run is not of task=classification.
        """
        if self.classes is None:
            raise InputError("this run gives anomaly scores: classes take a run of task=classification")
        waves = self.waves(audio, rate)
        return self.classify_waves(waves, np.full(len(waves), -1))

    def waves(self, audio: Audio, rate: int | None = None) -> np.ndarray:
        """Audio as clips, int16 [N, samples]."""
        if isinstance(audio, np.ndarray | Tensor):
            if rate is None:
                raise InputError("waveforms need their sampling frequency: score(waveform, rate=16000)")
            return np.stack([self._clip(wave, rate) for wave in np.atleast_2d(np.asarray(audio))])
        paths = [audio] if isinstance(audio, str | Path) else list(audio)
        return np.stack([self.read(Path(path)) for path in paths])

    def read(self, path: Path) -> np.ndarray:
        """One file as a clip, int16 [samples]."""
        try:
            wave = _audio.read(path, sample_rate=self.sample_rate, channel=self.channel)
        except _audio.UnreadableClip as reason:
            raise InputError(f"{path}: {reason}") from None
        return _audio.fit_length(wave, self.samples)

    def _clip(self, wave: np.ndarray, rate: int) -> np.ndarray:
        if not wave.size or not np.isfinite(wave).all():
            raise InputError("a waveform is empty or holds NaN or infinite samples")
        wave = wave if wave.dtype == np.int16 else wave.astype(np.float32)
        return _audio.fit_length(_audio.to_int16(_audio.resample(wave, rate, self.sample_rate)), self.samples)

    def id_numbers(self, machine_id: str | Sequence[str | None] | None, clips: int) -> np.ndarray:
        """Machine IDs by name as numbers [clips]; -1 where none is needed."""
        names = [machine_id] * clips if machine_id is None or isinstance(machine_id, str) else list(machine_id)
        if len(names) != clips:
            raise InputError(f"{len(names)} machine IDs for {clips} clips: give one, or one for each clip")
        return np.array([self._id_number(name) for name in names])

    def _id_number(self, name: str | None) -> int:
        if name is None and (len(self.labels) == 1 or not self.detector.uses_machine_id):
            return 0 if len(self.labels) == 1 else -1
        for number, label in enumerate(self.labels):
            if name is not None and name in (label, label.split("/")[1]):
                return number
        given = "no machine ID was given" if name is None else f"machine ID '{name}' was not heard in training"
        raise InputError(f"{given}; this detector knows: {', '.join(self.labels)}")

    def use(self, backend: BackEnd | None) -> None:
        """Judge by a back end, fitted or about to be; None: the detector's own score."""
        self.backend = backend
        if backend is not None:
            backend.device = self.device

    # --- clips as the cache holds them -------------------------------------------------------------------------------
    def score_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Scores [N] of clips int16 [N, samples] with their machine ID numbers [N]; a description shows progress.

        Clips are sliced batch by batch, so they need not be in memory all at once.
        """
        if self.classes is not None:
            raise InputError("this run tells classes apart: classify() says which. Anomaly scores take task=anomaly")
        score = self.detector.score if self.backend is None else self._by_backend
        return self._over_batches(score, waves, ids, description).astype(np.float64)

    def classify_waves(self, waves: Clips, ids: np.ndarray, description: str | None = None) -> np.ndarray:
        """Probability of each class, [N, K], of clips int16 [N, samples] with their machine ID numbers [N]."""
        return self._over_batches(self.detector.classify, waves, ids, description).astype(np.float64)

    def predict_waves(self, waves: Clips, ids: np.ndarray) -> np.ndarray:
        """What this run says of clips: scores [N], or probabilities of classes [N, K]."""
        return self.score_waves(waves, ids) if self.classes is None else self.classify_waves(waves, ids)

    def embed_waves(
        self, waves: Clips, ids: np.ndarray, description: str | None = None, windows: int | None = None
    ) -> np.ndarray:
        """Embeddings of clips int16 [N, samples], pooled as the back end says (without one: mean).

        Args:
            windows: windows kept per clip at most, evenly spaced, where they are not pooled.

        Returns:
            [N, D], or [N, W, D] where the back end judges every window.
        """

        def embed(batch: Batch) -> Tensor:
            embeddings = self._pooled(batch)
            step = -(-embeddings.shape[1] // windows) if windows and embeddings.ndim == 3 else 1
            return embeddings[:, ::step] if embeddings.ndim == 3 else embeddings

        return self._over_batches(embed, waves, ids, description)

    def _pooled(self, batch: Batch) -> Tensor:
        return pool(self.detector.embed(batch), self.backend.pool if self.backend else "mean")

    def _by_backend(self, batch: Batch) -> Tensor:
        scores = self.backend.score(self._pooled(batch).cpu().numpy(), batch.machine_id.cpu().numpy())
        return torch.from_numpy(scores)

    def _over_batches(
        self, what: Callable[[Batch], Tensor], waves: Clips, ids: np.ndarray, description: str | None
    ) -> np.ndarray:
        batches = range(0, len(waves), self.batch_size)
        if description:
            from rich.progress import track

            batches = track(batches, description, transient=True)
        found: np.ndarray | None = None  # made once: small results kept from every batch would break up the heap
        with torch.inference_mode():
            for start, batch in zip(batches, self._batches(waves, ids), strict=True):
                part = what(batch).cpu().numpy()
                if found is None:
                    found = np.empty((len(waves), *part.shape[1:]), part.dtype)
                found[start : start + len(part)] = part
        return np.empty(0) if found is None else found

    def _batches(self, waves: Clips, ids: np.ndarray) -> Iterator[Batch]:
        for start in range(0, len(waves), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self.batch(waves[rows], ids[rows])

    def batch(self, waves: np.ndarray, ids: np.ndarray) -> Batch:
        """What the detector sees of clips int16 [B, samples] with their machine ID numbers [B]."""
        wave = _audio.to_float(waves, self.device)
        number = torch.from_numpy(np.asarray(ids)).to(self.device)
        unknown = torch.full_like(number, -1)
        return Batch(wave, number, anomalous=unknown, clip=unknown, spec=self.features(wave))


def load_run(run_dir: str | Path, *, device: str = "auto", trust: Sequence[str] = ("mimii_pl",)) -> Scorer:
    """Load a run directory as a `Scorer`. Weights and arrays only: nothing that is read can execute code.

    Args:
        run_dir: directory of a finished run, or `latest`.
        device: `auto` takes a GPU where there is one.
        trust: packages whose classes the run's configuration may name; add your own package for your own detectors.

    Raises:
        InputError: there is no such run, or it names a class of a package that is not trusted.
    """
    run_dir = find_run(run_dir)
    cfg, facts = read_config(run_dir), read_facts(run_dir)
    for node in (cfg.model, cfg.features, cfg.backend):
        refuse_strangers(node, trust)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    features = build(cfg.features)
    if (statistics := run_dir / "features.npz").is_file():
        features.fitted = Statistics(*(torch.from_numpy(a) for a in read_arrays(statistics).values()))
    detector_class = class_of(cfg.model)
    detector = detector_class.load_from_checkpoint(run_dir / facts["checkpoint"], map_location="cpu", weights_only=True)
    scorer = Scorer(
        detector,
        features,
        labels=facts["labels"],
        classes=facts.get("classes"),
        sample_rate=cfg.dataset.sample_rate,
        samples=facts["samples"],
        channel=cfg.dataset.channel,
        batch_size=cfg.dataset.batch_size,
        device=device,
    )
    if (state := run_dir / "backend.npz").is_file():
        backend = build(cfg.backend)
        backend.load_state_dict(read_arrays(state))
        scorer.use(backend)
    if (state := run_dir / "thresholds.json").is_file():
        scorer.thresholds = Thresholds(**json.loads(state.read_text()))
    return scorer
