"""The data module, from files to batches on the device: discovery, splits, audio cache, features, augmentation."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import file_cell, printable
from mimii_pl.dataset import _cache
from mimii_pl.dataset._audio import (
    FULL_SCALE,
    RATES,
    SHORTEST_CUT,
    count_channels,
    full_scale_for,
    sampling_rate,
    to_float,
)
from mimii_pl.dataset._batches import ClipBatches, SpecBatches
from mimii_pl.dataset._channels import ALL_CHANNELS, Fusion, by_channel, fuse_channels, split_channel
from mimii_pl.dataset._classes import attribute_class, check_names, class_shares, inverse_shares, labelled, numbered
from mimii_pl.dataset._clip import Batch, Clip, Crop, clip_name, restrict
from mimii_pl.dataset._copies import group_copies, name_copies
from mimii_pl.dataset._excluded import without_excluded
from mimii_pl.dataset._machine_id import MachineIds
from mimii_pl.dataset._rpm import told_rpm
from mimii_pl.dataset._sampler import TrainSampler
from mimii_pl.dataset._statistics import kept_specs, per_clip, unnormalized_specs
from mimii_pl.features._spectral import Spectral, Statistics

log = logging.getLogger(__name__)
FEW_STEPS = 32  # of 16 bits: recordings whose largest sample is smaller are changed by rounding
CONDITION_CODES = {"normal": 0, "anomaly": 1, "": -1}


class MachineSounds(pl.LightningDataModule):
    """Base of every data set; a subclass implements `discover`, which lists its clips with their metadata.

    `official` names the challenge whose score is computed and whose files are written; None: no challenge.

    Args:
        root: folder of the data set.
        machine: machine type, or `all` for one model over every type found.
        protocol: assigns a split to each clip.
        features: representation, computed on the device of the batch.
        target: meaning of a clip's class (see `clip_class`) when training on clips of every class. None: training on
            normal clips only, with the machine ID as class.
        classes: without a target, the classes of the training clips: `machine_id`, or `attributes`, which divides each
            machine ID by domain and attributes, where clips have them; for detectors that tell them apart (`dis_spec`).
        augmentation: changes of training batches, applied in order on the device.
        sample_rate: sampling frequency in Hz to which every recording is resampled, 1 to 400 kHz; `native`, that of
            most recordings, is resolved by `core.units` before a data set is built.
        seconds: length of a clip in s: longer ones are cut at the end, shorter ones repeated from the start.
            None: the length that at least half of the machine's recordings have, or else their median.
        channel: index of the microphone from 0, `mean`, or `all`: each channel is a clip, those of a recording stay on
            one side of a split, and its score is fused over them.
        fuse_channels: with `channel=all`, the score of a recording over its channels: `mean` or `max`.
        full_scale: number in floating-point recordings that counts as full scale, of every recording alike; one with
            more than 0.1 % of its samples beyond is not used, a few overs are clipped.
        batch_size: clips (or crops of clips) per step.
        cache_dir: folder of the decoded audio.
        exclude: a table of `mimii check`: the recordings that it marks are not trained on; tests keep theirs.
        strict: True: the first unusable recording or folder ends the run; False: it is skipped and reported.
        num_workers: processes that gather batches; keep 0 unless a GPU waits for them.
        seed: of the order of training batches.
        rpm: speed of the shaft in revolutions per minute, of clips whose attributes do not tell it; None: unknown.
            Pages then show frequencies in orders, multiples of the shaft frequency, too.
    """

    official: str | None = None

    def __init__(
        self,
        *,
        root: str,
        machine: str,
        protocol: Callable[[list[Clip]], list[Clip]],
        features: Spectral,
        target: str | None = None,
        classes: Literal["machine_id", "attributes"] = "machine_id",
        augmentation: Sequence[torch.nn.Module] = (),
        sample_rate: int | Literal["native"] = 16000,
        seconds: float | None = None,
        channel: int | Literal["mean", "all"] = 0,
        fuse_channels: Fusion = "mean",
        full_scale: float = 1.0,
        batch_size: int = 32,
        cache_dir: str = "data/cache",
        exclude: str | None = None,
        strict: bool = False,
        num_workers: int = 0,
        seed: int = 0,
        rpm: float | None = None,
    ) -> None:
        super().__init__()
        if sample_rate not in RATES:
            raise InputError(f"dataset.sample_rate={sample_rate}: should be from {RATES[0]} to {RATES[-1]} Hz")
        if channel == ALL_CHANNELS and target:
            raise InputError(
                "dataset.channel=all: the anomaly scores of channels are fused, not the classes of "
                "task=classification: choose a channel, or dataset.channel=mean"
            )
        if rpm is not None and not 0 < rpm < math.inf:
            raise InputError(f"dataset.rpm={rpm:g}: should be above 0, in revolutions of the shaft per minute")
        self.rpm = rpm and float(rpm)
        self.root, self.machine, self.protocol, self.target = Path(root), machine, protocol, target
        self.class_of = classes
        self.features, self.augmentation = features, list(augmentation)
        self.sample_rate, self.seconds, self.channel = int(sample_rate), seconds, channel
        self.fusion, self.full_scale = fuse_channels, float(full_scale)
        self.batch_size, self.cache_dir, self.strict = batch_size, Path(cache_dir), strict
        self.exclude = Path(exclude) if exclude else None
        self.num_workers, self.seed = num_workers, seed
        self.crop: Crop | None = None
        self.steps_per_batch = 1  # optimizer steps of `batch_size` clips that a training batch has room for
        self.clips: list[Clip] = []
        self.skipped_folders: list[tuple[str, str]] = []
        self._clip_statistics: Statistics | None = None  # of every clip, [n_clips, C, 1, 1]
        self._kept: Tensor | None = None  # representation of the training clips, [M, N, C, F]

    def discover(self) -> list[Clip]:
        """List every recording, sorted by path; `setup` keeps those of the chosen machine.

        Raises:
            InputError: no recording is found.
        """
        raise NotImplementedError

    def native_rate(self) -> int:
        """Return the sampling frequency in Hz that most recordings of the machine have; of several, the highest.

        Raises:
            InputError: no recording of the machine, or no header that can be read.
        """
        self.prepare_data()
        paths = [clip.path for clip in restrict(self.discover(), self.machine, self.root)]
        rates = _cache.headers(paths, sampling_rate)
        counts = Counter(rate for rate in rates if isinstance(rate, int))
        if not counts:
            raise InputError(_cache.none_readable(paths, rates))
        rate = max(counts, key=lambda one: (counts[one], one))
        if others := counts.total() - counts[rate]:
            text = "dataset.sample_rate=native: %d Hz, as %d of %d recordings; the other %d are resampled"
            log.warning(text, rate, counts[rate], counts.total(), others)
        return rate

    def divide(self, clips: list[Clip]) -> list[Clip]:
        """Divide longer recordings into clips, where the data set's own clips are not fixed."""
        return clips

    @property
    def clip_seconds(self) -> float | None:
        """Length of a clip in s; None: to be found from the recordings."""
        return self.seconds

    @property
    def clip_hop(self) -> float | None:
        """Time from a clip of a divided recording to the next in s; None: recordings are not divided."""
        return None

    @classmethod
    def machine_ids(cls, labels: Sequence[str], options: Mapping[str, Any]) -> MachineIds:
        """Return how a recording tells its machine ID.

        Args:
            labels: machine IDs seen in training.
            options: of this class, as a run stored them.
        """
        return MachineIds(labels)

    def skip_folder(self, folder: str, reason: str) -> None:
        """Name a folder that is left out; with `strict`, raise InputError."""
        if self.strict:
            raise InputError(f"{folder}: {reason} (set dataset.strict=false to skip it)")
        log.warning("skipped %s: %s", printable(folder), reason)
        self.skipped_folders.append((file_cell(folder), reason))

    def found(self) -> list[Clip]:
        """List the recordings of the chosen machine, or with `channel=all` their channels."""
        clips = restrict(self.discover(), self.machine, self.root)
        if self.channel != ALL_CHANNELS:
            return clips
        return by_channel(clips, _cache.headers([clip.path for clip in clips], count_channels))

    def recordings_of(self, rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuse the scores [N] of clips, channels of recordings, to [M]; return the row of each recording's first."""
        clips = [self.clips[row] for row in rows]
        owners = [self.recording_name(clip) for clip in clips] if self.channel == ALL_CHANNELS else list(rows)
        fused, first = fuse_channels(scores, owners, self.fusion)
        return fused, rows[first]

    def recording_name(self, clip: Clip) -> str:
        """Return the name of a clip; with `channel=all`, the one that the channels of a recording share."""
        return clip_name(split_channel(clip.path)[0], clip.start) if self.channel == ALL_CHANNELS else clip.name

    # --- clips and splits --------------------------------------------------------------------------------------------
    def setup(self, stage: str | None = None) -> None:
        """Open the audio cache and number the machine IDs and classes of the training clips.

        A missing cache is built first, by one process while the others wait. A second call changes nothing.

        Raises:
            InputError: no clip of the chosen machine, or no usable clip to train on.
        """
        if self.clips:
            return
        clips = self.divide(self.found())
        check_names(clips, self.target)
        if self.target:
            clips = labelled(clips, self.target)
        assigned = self.protocol(clips)  # its errors come before anything is decoded
        cache = self._open(clips)
        usable = group_copies([clips[row] for row in cache.rows], cache.digests)
        row_of = {clip.place: row for row, clip in enumerate(usable)}
        if usable != clips:
            assigned = self.protocol(usable)
        assigned, excluded = self._without_excluded(assigned)
        rows = [row_of[clip.place] for clip in assigned]
        self.waves: _cache.Waves = cache.waves
        if rows != list(range(len(usable))):
            self.waves = _cache.ClipRows(cache.waves, np.array(rows, int))
        self.digests, self.skipped = (
            [cache.digests[row] for row in rows],
            cache.skipped + excluded + self.skipped_folders,
        )
        name_copies(assigned, self.digests)
        self.clips = assigned
        self.labels = sorted({clip.label for clip in self.clips if clip.split == "train"})
        if not self.labels:
            kind = "clip" if self.target else "normal clip"
            raise InputError(
                f"no usable {kind} to train on in {self.root} for machine={self.machine}: check dataset and protocol"
            )
        number = {label: index for index, label in enumerate(self.labels)}
        self.machine_id = np.array([number.get(clip.label, -1) for clip in self.clips])
        self.anomalous = np.array([CONDITION_CODES[clip.condition] for clip in self.clips])
        self.classes, self.label = self.labels, self.machine_id
        if self.target:
            self.classes, self.label = numbered(self.clips, self.target)
        else:
            self._warn_of_unseen_machines()
            if self.class_of == "attributes":
                self._divide_classes()
        self.samples = cache.waves.shape[1]

    def _warn_of_unseen_machines(self) -> None:
        tested = Counter(clip.label for clip in self.clips if clip.split == "test")
        for label in sorted(tested.keys() - set(self.labels)):
            log.warning(
                "%s has no normal clip to train on: its %d test clips are of a machine not seen in training",
                label,
                tested[label],
            )

    def _divide_classes(self) -> None:
        """Make classes of the domains and attributes within each machine ID; -1 for one without training clips."""
        names = [attribute_class(clip) for clip in self.clips]
        order = {names[row]: self.machine_id[row] for row in self.rows("train")}
        self.classes = sorted(order, key=lambda name: (order[name], name))
        number = {name: index for index, name in enumerate(self.classes)}
        self.label = np.array([number.get(name, -1) for name in names])
        log.info("%d classes: machine IDs divided by domain and attributes", len(self.classes))

    def _without_excluded(self, clips: list[Clip]) -> tuple[list[Clip], list[tuple[str, str]]]:
        if self.exclude is None:
            return clips, []
        kept, out = without_excluded(clips, self.exclude, self.root)
        reason = f"excluded by {printable(self.exclude)}"
        log.info("%d training recordings are %s", len({clip.path for clip in out}), reason)
        return kept, [(file_cell(path), reason) for path in dict.fromkeys(clip.path for clip in out)]

    def _open(self, clips: list[Clip]) -> _cache.WaveCache:
        cache = _cache.build_cache(
            [clip.path for clip in clips],
            self.cache_dir,
            starts=[clip.start for clip in clips],
            sample_rate=self.sample_rate,
            seconds=self.clip_seconds,
            hop=self.clip_hop,
            channel=self.channel,
            full_scale=self.full_scale,
            description=f"decoding {self.machine}",
        )
        if cache.skipped and self.strict:
            path, reason = cache.skipped[0]
            raise InputError(f"{path}: {reason} (set dataset.strict=false to skip it)")
        self._warn_of_lengths(np.array(cache.recorded), cache.waves.shape[1] / self.sample_rate)
        self._warn_of_level(cache.peak)
        return cache

    def _warn_of_lengths(self, recorded: np.ndarray, seconds: float) -> None:
        """Say how much is heard of recordings of these lengths in s, and how many are repeated."""
        longer, shorter = recorded[recorded > seconds + SHORTEST_CUT], recorded[recorded < seconds - SHORTEST_CUT]
        parts = []
        if len(longer):
            total = f"heard {len(longer) * seconds:.1f} s of {longer.sum():.1f} s"
            parts.append(f"{total} in {len(longer)} longer ones (the rest is cut)")
        if len(shorter):
            parts.append(f"{len(shorter)} shorter ones are repeated from their start")
        if parts:
            text = "clips are the first %.7g s of recordings: %s; dataset.seconds=<s> sets another length"
            log.warning(text, seconds, ", ".join(parts))

    def _warn_of_level(self, peak: int) -> None:
        if peak < FEW_STEPS:
            text = "the loudest sample is %d of 32768 steps of 16 bits: rounding changes the recordings. If they are %s"
            scale = full_scale_for(peak / FULL_SCALE * self.full_scale)
            log.warning(text, peak, f"floating point, set {scale}")

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Shape (C, F, N) of the representation of one clip."""
        return self.features.shape(self.samples)

    def rows(self, split: str) -> np.ndarray:
        """List the cache rows of a split; for training and validation only normal clips, unless `target` is set."""
        normal = split in ("train", "validation") and not self.target
        return self._rows(lambda clip: clip.split == split and not (normal and clip.condition == "anomaly"))

    def rpm_of(self, row: int) -> float | None:
        """Return the speed of the shaft in a clip, in revolutions per minute; None if unknown."""
        return told_rpm(self.clips[row].attributes) or self.rpm

    def of(self, split: str) -> tuple[_cache.ClipRows, np.ndarray]:
        """Return the clips of a split, read when indexed, and the numbers of their machine IDs [N]."""
        return self._of(self.rows(split))

    def anomalies_beside_validation(self) -> tuple[_cache.ClipRows, np.ndarray]:
        """Return the anomalies reserved for choosing thresholds, and the numbers of their machine IDs [M]."""
        return self._of(self._rows(lambda clip: clip.split == "validation" and clip.condition == "anomaly"))

    def _rows(self, wanted: Callable[[Clip], bool]) -> np.ndarray:
        return np.array([row for row, clip in enumerate(self.clips) if wanted(clip)], dtype=int)

    def _of(self, rows: np.ndarray) -> tuple[_cache.ClipRows, np.ndarray]:
        return _cache.ClipRows(self.waves, rows), self.machine_id[rows]

    def class_weights(self) -> Tensor:
        """Weight each class in a loss by the inverse of its share in the training clips, divided by K, [K]."""
        return inverse_shares(self.label[self.rows("train")], len(self.classes))

    def id_of_class(self) -> Tensor:
        """Return the number of the machine ID that each class belongs to, [K]; with a target, the class itself."""
        if self.classes is self.labels or self.target:
            return torch.arange(len(self.classes))
        rows = self.rows("train")
        ids = torch.empty(len(self.classes), dtype=torch.long)
        ids[torch.from_numpy(self.label[rows])] = torch.from_numpy(self.machine_id[rows])
        return ids

    # --- features ----------------------------------------------------------------------------------------------------
    def fit_features(self, device: torch.device | str = "cpu") -> None:
        """Fit the normalization of the features to the training clips, where it needs fitting."""
        specs = self._train_specs(device)  # lazy
        if self.features.normalize in ("train", "minmax") and self.features.fitted is None:
            self.features.fit(spec for _, spec in specs)
        elif self.features.normalize == "clip" and self.crop and self._clip_statistics is None:
            self._clip_statistics = per_clip(self.features, specs, clips=len(self.clips), device=device)

    def keep_specs(self, device: torch.device | str = "cpu") -> None:
        """Represent the training clips once, for training batches without waveforms, unless there are too many.

        The features have to be fitted, and there must be no augmentation: it would be lost.
        """
        clips = len(self.rows("train"))
        self._kept = kept_specs(self.features, self._train_specs(device), clips=clips, shape=self.in_shape)

    def _train_specs(self, device: torch.device | str) -> Iterator[tuple[np.ndarray, Tensor]]:
        rows = self.rows("train")
        return unnormalized_specs(self.features, self.waves, rows, batch_size=self.batch_size, device=device)

    def whole_clip(self) -> Batch:
        """Load the first training clip as validation loads clips, with its representation, on the CPU."""
        clips = ClipBatches(self.waves, self.machine_id, self.anomalous, self.features, None)
        return self.on_after_batch_transfer(clips[np.array([[self.rows("train")[0], -1]])], 0)

    # --- batches -----------------------------------------------------------------------------------------------------
    def train_dataloader(self) -> DataLoader:
        """Load shuffled clips, or crops of clips if the detector requests them."""
        frames = self.in_shape[2]
        crop = self.crop if self.crop and self.crop.frames < self.crop.room(frames)[1] else None
        sampler = TrainSampler(
            self.rows("train"),
            frames,
            crop,
            batch_size=self.batch_size * self.steps_per_batch,
            seed=self.seed,
            **self._processes(),
        )
        # Lightning sets the epoch only after the first batch.
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        if self._kept is None:
            return self._loader(sampler)
        kept = self._kept, self.rows("train"), self.machine_id, self.anomalous
        return self._loader(sampler, SpecBatches(*kept, crop))

    def val_dataloader(self) -> DataLoader:
        """Load whole held-out clips, in order.

        Raises:
            InputError: fewer clips than processes.
        """
        rows, world = self.rows("validation"), self._processes()["world"]
        if len(rows) < world:
            raise InputError(
                f"{len(rows)} held-out clips cannot be shared by {world} processes: set trainer.devices={len(rows)}, "
                "or a higher protocol.validation"
            )
        return self.loader(rows)

    def loader(self, rows: np.ndarray) -> DataLoader:
        """Load whole clips of these rows, in order; with several processes, each loads its own share."""
        processes = self._processes()
        rows = np.stack([rows, np.full_like(rows, -1)], axis=1)[processes["rank"] :: processes["world"]]
        return self._loader([rows[at : at + self.batch_size] for at in range(0, len(rows), self.batch_size)])

    def _loader(self, batches: Iterable[np.ndarray], source: Dataset | None = None) -> DataLoader:
        return DataLoader(
            source or ClipBatches(self.waves, self.machine_id, self.anomalous, self.features, self.crop),
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # its own, so that creating an iterator draws no random number of training
        )

    def _processes(self) -> dict[str, int]:
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world": trainer.world_size if trainer else 1}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Compute int16 -> float32 waveform -> representation -> augmentation (training only) on the batch's device."""
        training = self.trainer is not None and self.trainer.training
        if batch.spec is None:
            batch = self._represented(batch)
        if training or self.classes is not self.labels:
            numbers = torch.from_numpy(self.label).to(batch.clip.device)[batch.clip]
            batch = batch._replace(target=class_shares(numbers, len(self.classes)))
        if not training:
            return batch
        for augment in self.augmentation:
            batch = augment(batch)
        return batch

    def _represented(self, batch: Batch) -> Batch:
        batch = batch._replace(wave=to_float(batch.wave, batch.wave.device))
        statistics = None
        if batch.frame is not None and self._clip_statistics is not None:
            statistics = Statistics(*(part.to(batch.wave.device)[batch.clip] for part in self._clip_statistics))
        self.features.to_device(batch.wave.device)
        spec = self.features(batch.wave, cropped=batch.frame is not None, statistics=statistics)
        return batch._replace(spec=spec)
