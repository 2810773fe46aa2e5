"""Auto-encoder on the raw waveform."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import Detector, Integers, overlap_mean, spec_of

KERNEL_SIZE = 3


class WaveAE(Detector):
    """Dilated one-dimensional convolutional auto-encoder on the raw waveform.

    The slowest auto-encoder, which reads the waveform instead of features. Convolutions with ReLU, dilated by 1, 2, 4,
    ..., two poolings by 2, and the mirror image. Each waveform is scaled to [0, 1] by its own minimum and maximum.
    Trained on excerpts, which keeps it affordable on a CPU; scored on the whole clip, excerpt by excerpt, so that a
    clip of any length fits in memory. Score: mean squared error in units of the scaled waveform. (The source document
    sums the output instead, which is not an error measure.)

    Args:
        in_shape: (C, F, N) of the features; not used, it reads the waveform.
        n_ids: number of machine IDs; not used.
        channels: channels of each convolution; dilation doubles from one to the next.
        frames: frames of the features that an excerpt spans in training.
        excerpt: samples scored at a time.
        lr: Adam's learning rate.
    """

    one_thread_per_batch = True
    shared = ("embed", "squared_errors")

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        channels: Integers = (16, 32, 64, 128, 256),
        frames: int = 16,
        excerpt: int = 16384,
        lr: float = 1e-4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.crop = Crop(frames)
        shapes = list(zip([1, *channels[:-1]], channels, [2**level for level in range(len(channels))], strict=True))
        self.encoder = nn.ModuleList(_conv(c_in, c_out, dilation) for c_in, c_out, dilation in shapes)
        self.decoder = nn.ModuleList(_conv(c_out, c_in, dilation) for c_in, c_out, dilation in reversed(shapes))

    def latent(self, x: Tensor) -> Tensor:
        """Encode waveforms, [M, 1, T] -> [M, D, T / 4]; pooling follows the second and the fourth convolution."""
        for level, conv in enumerate(self.encoder, start=1):
            x = F.relu(conv(x))
            x = F.max_pool1d(x, 2) if level in (2, 4) else x
        return x

    def reconstruct(self, z: Tensor) -> Tensor:
        """Decode latents to waveforms, [M, D, T / 4] -> [M, 1, T]."""
        for level, conv in zip(range(len(self.decoder), 0, -1), self.decoder, strict=True):
            z = F.interpolate(z, scale_factor=2.0) if level in (2, 4) else z
            z = conv(z) if level == 1 else F.relu(conv(z))
        return z

    def excerpts(self, batch: Batch) -> Tensor:
        """Scale waveforms and cut excerpts that cover them, [B, T] -> [B, W, T'], with T' a multiple of 4."""
        low, high = batch.wave.amin(dim=1, keepdim=True), batch.wave.amax(dim=1, keepdim=True)
        scaled = (batch.wave - low) / (high - low).clamp(min=1e-6)
        length = min(self.hparams.excerpt, scaled.shape[1]) // 4 * 4
        starts = [*range(0, scaled.shape[1] - length, length), scaled.shape[1] - length]
        return torch.stack([scaled[:, start : start + length] for start in starts], dim=1)

    def errors(self, x: Tensor) -> Tensor:
        """Compute the squared reconstruction errors of excerpts, [M, T] -> [M, T]."""
        return (self.reconstruct(self.latent(x[:, None]))[:, 0] - x).square()

    def squared_errors(self, batch: Batch) -> Tensor:
        """Compute the squared errors of the excerpts of each clip, [B, W, T'], one after the other."""
        return torch.stack([self.errors(x) for x in self.excerpts(batch).unbind(1)], dim=1)

    def loss(self, batch: Batch) -> Tensor:
        return self.errors(self.excerpts(batch).flatten(0, 1)).mean(dim=1).mean()

    def score(self, batch: Batch) -> Tensor:
        return self.squared_errors(batch).mean(dim=2).mean(dim=1)

    def error_map(self, batch: Batch) -> Tensor:
        squared = self.squared_errors(batch)
        samples, frames = batch.wave.shape[1], spec_of(batch).shape[3]
        whole = overlap_mean(squared[:, :, None], samples, squared.shape[2])  # [B, 1, T]
        starts = [frame * samples // frames for frame in range(frames)]  # as adaptive pooling, in few operations
        ends = [-(-(frame + 1) * samples // frames) for frame in range(frames)]
        sums = F.pad(whole.double().cumsum(dim=2), (1, 0))
        counts = torch.tensor([end - start for start, end in zip(starts, ends, strict=True)], device=whole.device)
        return ((sums[..., ends] - sums[..., starts]) / counts).float()

    def embed(self, batch: Batch) -> Tensor:
        """Compute the latent of each excerpt, averaged over time, [B, W, D]."""
        return torch.stack([self.latent(x[:, None]).mean(dim=2) for x in self.excerpts(batch).unbind(1)], dim=1)


def _conv(channels_in: int, channels_out: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels_in, channels_out, KERNEL_SIZE, dilation=dilation, padding=dilation)
