"""Embeddings of a network that others trained on much audio, for back ends."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import in_parts
from mimii_pl.model._embedders import EMBEDDERS
from mimii_pl.model._embedding_cache import EmbeddingCache
from mimii_pl.model._training_free import TrainingFree
from mimii_pl.model._weights import load_weights, read_weights

WINDOWS_IN_MEMORY = 16  # windows per forward pass
EMBEDDING_VERSION = 1  # increase it when the same weights and clips would give other embeddings
EMBEDS = ("network", "layer", "pool", "gem_power", "gamma", "frequencies", "sample_rate")  # what they depend on


class Pretrained(TrainingFree):
    """Embeddings of a network trained on other audio, for a back end; nothing is trained here.

    Use it with few training clips, or beside other detectors. Architectures are ours (`aisfx`: Ma, Lerch, ISMIR 2022;
    `ast`: Gong et al., Interspeech 2021; `beats`: Chen et al., ICML 2023; `eat`: Chen et al., IJCAI 2024), weights are
    read from safetensors alone, and become part of the run's checkpoint. Clips are resampled to the network's rate and
    cut into windows of its length, which overlap by half. A shorter clip is padded for `aisfx` and `ast`, and steps of
    padding are not pooled. Without a back end, the score is 1 minus the cosine between embeddings and the mean
    embedding of the training clips, averaged over windows.

    Args:
        in_shape: (C, F, N) of the features; not used, it reads the waveform.
        n_ids: number of machine IDs; not used.
        network: `aisfx` (44.1 kHz, 2.3 s, 512 values; fast), or at 16 kHz with 10.24 s, 768 values and 85 to 90 M
            weights `ast`, `beats` or `eat`.
        weights: path of safetensors, `hf:owner/repo@<commit>`, or `random`: as they are initialised, to compare with.
        sha256: expected of the file of weights; None: not checked.
        layer: number of the layer from 0, or several, of which the mean is taken; -1: the last one.
        pool: over time: `mean`; `max`; `gem`, generalised mean; `rdp`, mean that weights steps by their deviation.
        gem_power: exponent of `gem`.
        gamma: exponent of the weights of `rdp`; 0 is the mean.
        frequencies: `mean` over rows of frequencies, or `keep` them, R times as many values.
        sample_rate: sampling frequency of the clips in Hz.
    """

    mean: Tensor

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        network: Literal["aisfx", "ast", "beats", "eat"] = "aisfx",
        weights: str | None = None,
        sha256: str | None = None,
        layer: int | list[int] = -1,
        pool: Literal["mean", "max", "gem", "rdp"] = "mean",
        gem_power: float = 3.0,
        gamma: float = 9.0,
        frequencies: Literal["mean", "keep"] = "mean",
        sample_rate: int = 16000,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = EMBEDDERS[network]()
        self.exportable = self.network.exportable
        self.layers = [layer] if isinstance(layer, int) else list(layer)
        depth = self.network.depth
        if not self.layers or not all(-depth <= number < depth for number in self.layers):
            raise InputError(f"model.layer={layer}: network={network} has layers 0 to {depth - 1}; -1 is the last")
        freeze(self.network)
        self.network.eval()
        with torch.no_grad():
            maps = self.network.maps(torch.zeros(1, self.network.shortest, self._bins()), self.layers)
        rows, values = maps[0].shape[2:]
        self.register_buffer("mean", torch.ones(rows * values if frequencies == "keep" else values))
        self.sums = torch.zeros(1 + len(self.mean), dtype=torch.float64)  # count, sum of directions
        self.kept: EmbeddingCache | None = None

    def _bins(self) -> int:
        return self.network.spectrum(torch.zeros(1, self.network.rate // 10)).shape[2]

    def setup(self, stage: str) -> None:
        """Read the weights before a fit; a run that is loaded has them in its checkpoint."""
        source = self.hparams.weights
        if stage != "fit" or source == "random":
            return
        if source is None:
            raise InputError(
                "model=pretrained needs model.weights=<file>.safetensors or hf:owner/repo@<commit>, or "
                "model.weights=random to compare with"
            )
        load_weights(self.network, read_weights(source, self.hparams.sha256, self.hparams.network), source)

    def observe(self, batch: Batch) -> None:
        directions = F.normalize(self.embed(batch), dim=2).flatten(0, 1).double().cpu()
        self.sums += torch.cat([torch.tensor([len(directions)]), directions.sum(dim=0)])

    def finish_fit(self) -> None:
        self.mean.copy_(self.sums[1:] / self.sums[0])
        self.sums.zero_()

    def score(self, batch: Batch) -> Tensor:
        return (1 - F.cosine_similarity(self.embed(batch), self.mean, dim=2)).mean(dim=1)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the embedding of each window, pooled over time, [B, W, D]."""
        exact = batch.wave.dtype == torch.float32 and not torch.is_autocast_enabled(batch.wave.device.type)
        if self.kept is None or not exact:
            return self._embed(batch.wave)
        return self.kept.complete(batch.wave, self._embed)

    @contextmanager
    def keep_embeddings(self, folder: Path) -> Iterator[None]:
        """Keep embeddings in `embeddings.sqlite` of a folder while the block runs; clips found there are not computed.

        The weights must not change in the block once a clip was embedded.
        """
        self.kept = EmbeddingCache(folder / "embeddings.sqlite", self._digest)
        try:
            yield
        finally:
            self.kept.close()
            self.kept = None

    def _digest(self) -> bytes:
        """Digest all that an embedding depends on besides the clip."""
        digest = hashlib.sha256(
            json.dumps([EMBEDDING_VERSION, self.device.type, *map(self.hparams.get, EMBEDS)]).encode()
        )
        for name, value in self.network.state_dict().items():
            digest.update(name.encode() + value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.digest()

    def _embed(self, wave: Tensor) -> Tensor:
        self.network.eval()  # while the trainer trains, too
        wave = torchaudio.functional.resample(wave, self.hparams.sample_rate, self.network.rate)
        spectrum = self.network.spectrum(wave)  # [B, N, F]
        frames = spectrum.shape[1]
        spectrum = F.pad(spectrum, (0, 0, 0, max(0, self.network.shortest - frames)))
        width = min(self.network.width, spectrum.shape[1])
        starts = [*range(0, spectrum.shape[1] - width, width // 2), spectrum.shape[1] - width]
        windows = torch.stack([spectrum[:, start : start + width] for start in starts], dim=1)
        parts = [self._pooled(part, frames) for part in in_parts(windows.flatten(0, 1), WINDOWS_IN_MEMORY)]
        return torch.cat(parts).unflatten(0, windows.shape[:2])

    def _pooled(self, windows: Tensor, frames: int) -> Tensor:
        """Embed windows [M, width, F], of which `frames` frames are sound if they are fewer, -> [M, D]."""
        maps = torch.stack(self.network.maps(windows, self.layers)).mean(dim=0)  # [M, T, R, D]
        maps = maps[:, : self.network.steps(frames)]
        values = maps.mean(dim=2) if self.hparams.frequencies == "mean" else maps.flatten(2)
        return pool_time(values, self.hparams.pool, self.hparams.gem_power, self.hparams.gamma)


def freeze(module: nn.Module) -> None:
    """Make buffers of the parameters of a module: values that are stored, but not trained."""
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, value.detach())


def pool_time(x: Tensor, kind: str, power: float = 3.0, gamma: float = 9.0) -> Tensor:
    """Pool steps of time, [M, T, D] -> [M, D].

    `gem`: (mean of max(x, 0)^power)^(1/power). `rdp`: mean with the weights (1 + d)^gamma, where d is a step's distance
    from the mean step, divided by the largest (arXiv 2603.04605).
    """
    if kind == "max":
        return x.amax(dim=1)
    if kind == "gem":
        return x.clamp(min=0).pow(power).mean(dim=1).pow(1 / power)
    mean = x.mean(dim=1)
    if kind == "mean":
        return mean
    distance = (x - mean[:, None]).norm(dim=2)
    largest = distance.amax(dim=1, keepdim=True)
    weight = (1 + torch.where(largest < 1e-8, 0, distance / largest.clamp(min=1e-8))).pow(gamma)  # [M, T]
    return (weight[..., None] * x).sum(dim=1) / weight.sum(dim=1, keepdim=True)
