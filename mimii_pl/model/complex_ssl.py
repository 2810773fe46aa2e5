"""Self-supervised complex network: distinguishing machine IDs, phase included, teaches it normal sounds."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import Score
from mimii_pl.model._complex import ComplexConv2d, PerPart, PReLU, squared_magnitude
from mimii_pl.model._detector import in_parts, sliding_windows, spec_of
from mimii_pl.model._heads import Head, HeadClassifier

# channels in and out, kernel, stride, padding of the five blocks, (frequency, time)
BLOCKS = (
    (1, 45, (7, 5), (2, 2), (3, 2)),
    (45, 90, (7, 5), (2, 2), (3, 2)),
    (90, 90, (5, 3), (2, 2), (2, 1)),
    (90, 90, (5, 3), (2, 2), (2, 1)),
    (90, 45, (5, 2), (2, 1), (2, 0)),
)
WINDOWS_AT_ONCE = 64  # windows per forward pass in a loss: bounds the memory, about 20 MB each
SCORED_AT_ONCE = 5  # likewise, by each thread when scoring


class ComplexSSL(HeadClassifier):
    """Complex convolutional classifier of machine IDs on magnitude and phase (Kim, Ho, Kang, EUSIPCO 2021).

    Use it if there are at least two machine IDs and time for long training, but not if machines will run under
    conditions it has not seen. Five complex blocks, then a magnitude branch, a complex branch and their fusion with
    channel attention; the loss is the sum of their three cross entropies (arXiv 2312.13615). A clip is scored on the
    fused branch, as the mean over windows that cover it; the original scores one random crop.

    Args:
        in_shape: (2, F, N) of a complex spectrum.
        n_ids: number of machine IDs.
        score: `cross_entropy` of the clip's own ID; `entropy` of the posterior; `max_probability`: 1 - its maximum.
            The last two do not use the ID. For an ID not seen in training, `cross_entropy` takes the most likely one.
        frames: frames of a window, in training and scoring.
        window_hop: frames from one scored window to the next; the last window ends with the clip.
        lr: Adam's learning rate.
        **head: see `HeadClassifier`; the original has `softmax`.
    """

    trains_in_bfloat16 = True

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        score: Score = "cross_entropy",
        frames: int = 64,
        window_hop: int = 64,
        lr: float = 1e-4,
        **head: Any,
    ) -> None:
        super().__init__(**head)
        _check(in_shape, n_ids)
        self.crop = Crop(frames)
        self.uses_machine_id = score == "cross_entropy"
        self.trunk = nn.Sequential(*(_block(*block) for block in BLOCKS))
        self.magnitude = nn.Conv2d(45, 4, (5, 1), (2, 1), (1, 0))
        self.complex = nn.Conv2d(90, 4, (5, 1), (2, 1), (1, 0))
        self.attention = ChannelAttention(8)
        self.fusion = nn.Conv2d(8, 4, 1)
        self.classifiers = nn.ModuleList(self.new_head(4, n_ids) for _ in range(3))  # magnitude, complex, fused

    def pooled(self, spec: Tensor) -> list[Tensor]:
        """Compute the features of the magnitude, complex and fused branch, each [B, 4], of windows [B, 2, F, N]."""
        z = self.trunk(spec.split(1, dim=1))  # real and imaginary part, each [B, 45, F', N']
        magnitude = self.magnitude(squared_magnitude(z))  # [B, 4, F'', N']
        complex_ = self.complex(torch.cat(z, dim=1))  # [B, 4, F'', N']
        fused = self.fusion(self.attention(torch.cat([complex_, magnitude], dim=1)))
        return [branch.mean(dim=(2, 3)) for branch in (magnitude, complex_, fused)]

    def logits(self, spec: Tensor) -> list[Tensor]:
        """Compute the logits of the magnitude, complex and fused branch, each [B, n_ids]."""
        return [classify(branch) for classify, branch in zip(self.classifiers, self.pooled(spec), strict=True)]

    def loss(self, batch: Batch) -> Tensor:
        target = self.shares(batch, self.hparams.n_ids)
        windows = self.windows(spec_of(batch))  # [B, W, 2, F, frames]
        target = target.repeat_interleave(windows.shape[1], dim=0)
        parts = (self.pooled(part) for part in in_parts(windows.flatten(0, 1), WINDOWS_AT_ONCE))
        branches = map(torch.cat, zip(*parts, strict=True))
        magnitude, complex_, fused = (
            cast(Head, head).loss(branch, target) for head, branch in zip(self.classifiers, branches, strict=True)
        )
        return magnitude + complex_ + fused

    def posterior(self, batch: Batch) -> Tensor:
        """Compute the log posterior of each window over machine IDs, fused branch, [B, W, n_ids]."""
        fused = self.embed(batch)[..., -self.fusion.out_channels :]
        logits = self.classifiers[2](fused.flatten(0, 1))  # heads take vectors
        return logits.float().unflatten(0, fused.shape[:2]).log_softmax(dim=2)

    def embed(self, batch: Batch) -> Tensor:
        """Concatenate the pooled features of the three branches for each window, [B, W, 12]."""
        windows = self.windows(spec_of(batch))
        parts = (torch.cat(self.pooled(part), dim=1) for part in in_parts(windows.flatten(0, 1), SCORED_AT_ONCE))
        return torch.cat(list(parts)).view(*windows.shape[:2], -1)

    def windows(self, spec: Tensor) -> Tensor:
        """Cut windows that cover the clip, [B, 2, F, N] -> [B, W, 2, F, frames]."""
        return sliding_windows(spec, self.hparams.frames, self.hparams.window_hop)


class ChannelAttention(nn.Module):
    """Channel weighting by global averages: x + softmax(FC(ReLU(FC(GAP(conv(x)))))) * x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.squeeze = nn.Linear(channels, 4 * channels)
        self.excite = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Weight channels, [B, C, F, N] -> [B, C, F, N]."""
        weight = self.excite(F.relu(self.squeeze(self.conv(x).mean(dim=(2, 3))))).softmax(dim=1)
        return x + weight[:, :, None, None] * x


def _block(channels_in: int, channels_out: int, *shape: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        ComplexConv2d(channels_in, channels_out, *shape),
        PerPart(lambda: nn.BatchNorm2d(channels_out)),
        PerPart(lambda: PReLU(channels_out)),
    )


def _check(in_shape: tuple[int, int, int], n_ids: int) -> None:
    if in_shape[0] != 2:
        raise InputError(f"model=complex_ssl needs features=complex_stft (2 channels); these have shape {in_shape}")
    if n_ids < 2:
        raise InputError(
            "model=complex_ssl learns to distinguish machine IDs and this training set has one ID only: there is "
            "nothing to learn, the loss is 0 from the start. Choose a detector that needs no IDs (model=dense_ae), or "
            "machine=all"
        )
