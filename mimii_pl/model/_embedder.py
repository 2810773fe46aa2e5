"""Base of the networks that others trained on much audio: the architecture is ours, the weights are read from a file.

A network maps windows of its own spectrum to maps [M, T, R, D]: T steps in time, R rows of frequencies, D values.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn


class Embedder(nn.Module):
    """Base of the networks.

    Attributes:
        rate: sampling frequency in Hz that it was trained at.
        width: frames of a window.
        depth: layers that maps can be taken from.
        settings: of a checkpoint's `cfg` that its weights do not show, with the values that the network is built with.
    """

    rate: int
    width: int
    depth: int
    exportable = True  # False if its spectrum is computed clip by clip
    settings: Mapping[str, Any] = MappingProxyType({})

    @property
    def shortest(self) -> int:
        """Frames that shorter clips are padded to: those of a window, unless the network takes any number."""
        return self.width

    def spectrum(self, wave: Tensor) -> Tensor:
        """Compute the network's own spectrum of waveforms at its rate, [B, T'] -> [B, N, F]."""
        raise NotImplementedError

    def maps(self, windows: Tensor, layers: list[int]) -> list[Tensor]:
        """Compute the maps of layers, [M, width, F] -> one [M, T, R, D] for each; layer -1 is the last.

        Windows of fewer frames, but at least `shortest`, give fewer steps.
        """
        raise NotImplementedError

    def steps(self, frames: int) -> int:
        """Return how many of the T steps are of a window's first `frames` frames, the others of padding."""
        raise NotImplementedError

    @staticmethod
    def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give weights that others stored the names they have here; leave out those of their classifiers."""
        raise NotImplementedError


def renamed(name: str, parts: Iterable[tuple[str, str]]) -> str:
    """Replace parts of a name, one after the other."""
    for theirs, ours in parts:
        name = name.replace(theirs, ours)
    return name


def kaldi_bands(wave: Tensor, rate: int, bands: int, window: str) -> Tensor:
    """Compute Kaldi's log-mel filter bank, 25 ms every 10 ms, [B, T'] -> [B, N, bands]."""
    from torchaudio.compliance.kaldi import fbank

    options: dict[str, Any] = {"sample_frequency": rate, "window_type": window, "num_mel_bins": bands}
    return torch.stack([fbank(clip[None], **options) for clip in wave])
