"""From files to batches on the device: discovery, splits, the audio cache, features and augmentation."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from mimii_pl.core.errors import InputError
from mimii_pl.dataset import _cache
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.dataset._batches import ClipBatches
from mimii_pl.dataset._classes import labelled, numbered
from mimii_pl.dataset._clip import Batch, Clip, Crop
from mimii_pl.dataset._sampler import TrainSampler
from mimii_pl.features._spectral import Statistics

log = logging.getLogger(__name__)
CONDITION_CODES = {"normal": 0, "anomaly": 1, "": -1}


class MachineSounds(pl.LightningDataModule):
    """Base of every data set; a subclass says how its folders spell machine, ID, domain and condition (`discover`).

    `official` is the challenge whose clips these are: its score is computed, its files are written.

    Args:
        root: folder of the data set.
        machine: machine type, or `all` for one model over every type found.
        protocol: gives each clip its split.
        features: representation, computed on the device the batch is on.
        target: what a clip's class is (see `class_of`), where clips of every class are learned from. None: its machine
            ID, and normal clips alone are.
        augmentation: changes of training batches, applied in order on the device.
        sample_rate: every recording is resampled to it, in Hz.
        seconds: length of a clip: longer ones are cut at the end, shorter ones repeated from the start.
            None: the most common length of the machine's recordings.
        channel: index of the microphone from 0, or `mean`.
        batch_size: clips (or crops of clips) per step.
        cache_dir: where decoded audio is kept.
        strict: True: the first unusable recording ends the run; False: it is skipped, counted and named.
        num_workers: processes that gather batches; 0 is right unless a GPU waits for them.
        seed: of the order of training batches.
    """

    official: str | None = None

    def __init__(
        self,
        *,
        root: str,
        machine: str,
        protocol: Callable[[list[Clip]], list[Clip]],
        features: torch.nn.Module,
        target: str | None = None,
        augmentation: Sequence[torch.nn.Module] = (),
        sample_rate: int = 16000,
        seconds: float | None = None,
        channel: int | Literal["mean"] = 0,
        batch_size: int = 32,
        cache_dir: str = "data/cache",
        strict: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.machine, self.protocol, self.target = Path(root), machine, protocol, target
        self.features, self.augmentation = features, list(augmentation)
        self.sample_rate, self.seconds, self.channel = sample_rate, seconds, channel
        self.batch_size, self.cache_dir, self.strict = batch_size, Path(cache_dir), strict
        self.num_workers, self.seed = num_workers, seed
        self.crop: Crop | None = None
        self.clips: list[Clip] = []
        self._clip_statistics: tuple[Tensor, Tensor] | None = None

    def discover(self) -> list[Clip]:
        """Every recording of the chosen machine, sorted by path.

        Raises:
            InputError: the folder or the machine is not there.
        """
        raise NotImplementedError

    # --- who and what ------------------------------------------------------------------------------------------------
    def setup(self, stage: str | None = None) -> None:
        """Open the audio cache (made first where it is missing: one process does it, the others wait) and number the
        machine IDs and classes heard in training. A second call changes nothing."""
        if self.clips:
            return
        clips = self.discover()
        clips = self.protocol(labelled(clips, self.target) if self.target else clips)
        cache = self._open(clips)
        self.waves, self.skipped = cache.waves, cache.skipped
        self.clips = [clips[row] for row in cache.rows]
        self.labels = sorted({clip.label for clip in self.clips if clip.split == "train"})
        if not self.labels:
            kind = "clip" if self.target else "normal clip"
            raise InputError(f"no usable {kind} to train on in {self.root} for machine={self.machine}")
        number = {label: index for index, label in enumerate(self.labels)}
        self.machine_id = np.array([number.get(clip.label, -1) for clip in self.clips])
        self.anomalous = np.array([CONDITION_CODES[clip.condition] for clip in self.clips])
        self.classes, self.label = self.labels, self.machine_id
        if self.target:
            self.classes, self.label = numbered(self.clips, self.target)
        else:
            self._name_unheard()
        self.samples = self.waves.shape[1]

    def _name_unheard(self) -> None:
        tested = Counter(clip.label for clip in self.clips if clip.split == "test")
        for label in sorted(tested.keys() - set(self.labels)):
            log.warning("%s has no normal clip to train on: its %d test clips are of a machine never heard",
                        label, tested[label])  # fmt: skip

    def _open(self, clips: list[Clip]) -> _cache.WaveCache:
        cache = _cache.build_cache(
            [clip.path for clip in clips],
            self.cache_dir,
            sample_rate=self.sample_rate,
            seconds=self.seconds,
            channel=self.channel,
            description=f"decoding {self.machine}",
        )
        if cache.skipped and self.strict:
            raise InputError("{}: {} (dataset.strict=false would skip it)".format(*cache.skipped[0]))
        return cache

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Shape (C, F, N) of the representation of one clip."""
        return self.features.shape(self.samples)

    def rows(self, split: str) -> np.ndarray:
        """Rows of the audio cache that belong to a split; of training and validation the normal clips only, but for
        classifiers."""
        normal = split in ("train", "validation") and not self.target
        return self._rows(lambda clip: clip.split == split and not (normal and clip.condition == "anomaly"))

    def of(self, split: str) -> tuple[_cache.ClipRows, np.ndarray]:
        """Clips of a split, read where they are sliced, and the numbers of their machine IDs [N]."""
        return self._of(self.rows(split))

    def anomalies_beside_validation(self) -> tuple[_cache.ClipRows, np.ndarray]:
        """Labelled anomalies that a protocol keeps for choosing thresholds, and the numbers of their machine IDs."""
        return self._of(self._rows(lambda clip: clip.split == "validation" and clip.condition == "anomaly"))

    def _rows(self, wanted: Callable[[Clip], bool]) -> np.ndarray:
        return np.array([row for row, clip in enumerate(self.clips) if wanted(clip)], dtype=int)

    def _of(self, rows: np.ndarray) -> tuple[_cache.ClipRows, np.ndarray]:
        return _cache.ClipRows(self.waves, rows), self.machine_id[rows]

    def class_weights(self) -> Tensor:
        """Weight of each class in a loss, [K]: the inverse of its share in the training clips, divided by K."""
        counts = np.bincount(self.label[self.rows("train")], minlength=len(self.classes))
        return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()

    # --- features and statistics -------------------------------------------------------------------------------------
    def fit_features(self, device: torch.device | str = "cpu") -> None:
        """Take from the training clips what the features' normalisation needs."""
        if self.features.normalize in ("train", "minmax") and self.features.fitted is None:
            self.features.fit(spec for _, spec in self._training_specs(device))
        elif self.features.normalize == "clip" and self.crop and self._clip_statistics is None:
            table = torch.ones(2, len(self.clips), self.in_shape[0], 1, 1, device=device)
            for rows, spec in self._training_specs(device):
                table[:, rows] = torch.stack(self.features.clip_statistics(spec))
            self._clip_statistics = table.unbind()

    def _training_specs(self, device: torch.device | str) -> Iterator[tuple[np.ndarray, Tensor]]:
        self.features.to_device(device)
        rows = self.rows("train")
        for part in np.array_split(rows, -(-len(rows) // self.batch_size)):
            wave = torch.from_numpy(self.waves[part]).to(device).float() / FULL_SCALE
            yield part, self.features.transform(self.features.pad(wave))

    # --- batches -----------------------------------------------------------------------------------------------------
    def train_dataloader(self) -> DataLoader:
        """Shuffled clips, or crops of clips where the detector asks for less than a clip."""
        frames = self.in_shape[2]
        crop = self.crop if self.crop and self.crop.frames < self.crop.room(frames)[1] else None
        sampler = TrainSampler(
            self.rows("train"), frames, crop, batch_size=self.batch_size, seed=self.seed, **self._processes()
        )
        sampler.set_epoch(
            self.trainer.current_epoch if self.trainer else 0
        )  # Lightning's call comes after the first batch
        return self._loader(sampler)

    def val_dataloader(self) -> DataLoader:
        """Whole held-out normal clips, in order.

        Raises:
            InputError: there are fewer than processes.
        """
        rows, world = self.rows("validation"), self._processes()["world"]
        if len(rows) < world:
            raise InputError(
                f"{len(rows)} held-out clips cannot be shared by {world} processes: set trainer.devices={len(rows)}, "
                "or protocol.validation higher"
            )
        return self.loader(rows)

    def loader(self, rows: np.ndarray) -> DataLoader:
        """Whole clips of these rows in order; with several processes each takes its share once."""
        processes = self._processes()
        rows = np.stack([rows, np.full_like(rows, -1)], axis=1)[processes["rank"] :: processes["world"]]
        return self._loader([rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size)])

    def _loader(self, batches: Iterable[np.ndarray]) -> DataLoader:
        return DataLoader(
            ClipBatches(self), sampler=batches, batch_size=None, num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(), persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # its own: taking an iterator must not move the random numbers of training
        )  # fmt: skip

    def _processes(self) -> dict[str, int]:
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world": trainer.world_size if trainer else 1}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """int16 -> float32 waveform -> representation -> augmentation (training only), all on the batch's device."""
        batch = batch._replace(wave=batch.wave.float() / FULL_SCALE)
        training = self.trainer is not None and self.trainer.training
        statistics = None
        if batch.frame is not None and self._clip_statistics is not None:
            statistics = Statistics(*(part.to(batch.wave.device)[batch.clip] for part in self._clip_statistics))
        self.features.to_device(batch.wave.device)
        batch = batch._replace(spec=self.features(batch.wave, cropped=batch.frame is not None, statistics=statistics))
        if training or self.target:
            batch = batch._replace(target=self._shares(batch.clip))
        if not training:
            return batch
        for augment in self.augmentation:
            batch = augment(batch)
        return batch

    def _shares(self, rows: Tensor) -> Tensor:
        """Classes of clips as shares, [B] -> [B, K]; all zero where the class is not known."""
        label = torch.from_numpy(self.label).to(rows.device)[rows]
        return F.one_hot(label.clamp(min=0), len(self.classes)).float() * (label >= 0)[:, None]
