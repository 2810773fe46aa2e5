"""Channels learned from the waveform, of the shape of a spectrum: the Tgram and the TFgram of the STgram family."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import spec_of


class TgramChannel(nn.Module):
    """Learned filters in place of the Fourier transform, then three convolutions over time (Liu et al., ICASSP 2022).

    The original normalises each channel by a layer norm over its 313 frames; here by a group norm of one channel each,
    which has the same mean and variance and fits any number of frames.

    Args:
        bins: filters, as many as the spectrum has bins.
        kernel: samples of a filter.
        stride: samples from one frame to the next.
    """

    def __init__(self, bins: int, kernel: int = 1024, stride: int = 512) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.filters = nn.Linear(kernel, bins, bias=False)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.GroupNorm(bins, bins),
                    nn.LeakyReLU(0.2),
                    nn.Conv1d(bins, bins, 3, padding=1, bias=False),
                )
                for _ in range(3)
            )
        )

    def forward(self, batch: Batch) -> Tensor:
        """Compute a channel beside the spectrum, [B, 1, F, N]."""
        frames = reach(batch, self.kernel).unfold(1, self.kernel, self.stride)  # [B, N', kernel]
        x = self.layers(self.filters(frames).transpose(1, 2))
        return fit_frames(x, batch)


class TFgramChannel(nn.Module):
    """Short filters, then dilated convolutions with max pooling to the frames of the spectrum (arXiv 2509.13853).

    Args:
        bins: channels at the end, as many as the spectrum has bins.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        half = max(1, bins // 2)
        self.stem = nn.Sequential(nn.Conv1d(1, half, 11, stride=5, padding=5), nn.BatchNorm1d(half), nn.ReLU())
        self.blocks = nn.ModuleList(_dilated(*shape) for shape in ((half, half), (half, bins), (bins, bins)))

    def forward(self, batch: Batch) -> Tensor:
        """Compute a channel beside the spectrum, [B, 1, F, N]."""
        frames = spec_of(batch).shape[3]
        first, second, third = self.blocks
        x = F.max_pool1d(first(self.stem(batch.wave[:, None])), 4, ceil_mode=True)
        x = _adaptive_max_pool(second(x), 2 * frames)
        return _adaptive_max_pool(third(x), frames)[:, None]


def reach(batch: Batch, kernel: int) -> Tensor:
    """Return waveforms of which frames of `kernel` samples are cut, [B, T]: whole clips reflected, as by the features.

    Crops reach beyond their frames already.
    """
    if batch.frame is not None:
        return batch.wave
    half = kernel // 2
    return F.pad(batch.wave[:, None], (half, half), mode="reflect")[:, 0]


def fit_frames(x: Tensor, batch: Batch) -> Tensor:
    """Average [B, F, N'] to the frames of the spectrum, [B, 1, F, N]; nothing changes if there are as many."""
    return F.adaptive_avg_pool1d(x, spec_of(batch).shape[3])[:, None]


def _dilated(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels_in, channels_out, 3, padding=1),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
        nn.Conv1d(channels_out, channels_out, 3, padding=2, dilation=2),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
    )


def _adaptive_max_pool(x: Tensor, steps: int) -> Tensor:
    """Pool [B, C, T] to [B, C, steps] as `adaptive_max_pool1d` does, for which ONNX has no operator."""
    if not torch.compiler.is_exporting():
        return F.adaptive_max_pool1d(x, steps)
    edges = np.arange(steps + 1) * x.shape[2]
    starts, ends = edges[:-1] // steps, -(-edges[1:] // steps)
    places = np.minimum(starts[:, None] + np.arange((ends - starts).max()), ends[:, None] - 1)  # [steps, longest]
    return x[..., torch.from_numpy(places)].amax(dim=3)
