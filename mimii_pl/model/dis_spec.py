"""Discriminative network on spectrum and spectrogram of the waveform: the classes are machine IDs."""

import math
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._classifier import Score, need_classes
from mimii_pl.model._detector import Integers
from mimii_pl.model._heads import Head, HeadClassifier, HeadName

PART = 128  # values of the embedding from each branch
RESIDUAL_STAGES = (
    (16, 16, 1),
    (16, 32, 2),
    (32, 64, 2),
    (64, 128, 2),
)  # channels in and out, stride of the first block
FFT_CONVS = ((1, 256, 64), (PART, 64, 32), (PART, 16, 4))  # channels in, kernel, stride
FEWEST = 36  # bins, and frames, that a branch on a spectrogram needs
SQUEEZE = 16  # of the channels in squeeze and excitation
FEWEST_ROWS = 64  # of a matrix that a clip is laid out as, where its transform is exported


class DisSpec(HeadClassifier):
    """Classifier of machine IDs on two views of the waveform: its whole spectrum and its spectrogram.

    The network and the training of `dis_spec_scac_trainable` (Fujimura et al., ASDKit, 2025), after Wilkinghoff
    (ICASSP 2023). Use it with a back end, over as many machine types and IDs as there are (`machine=all`): one model
    serves all. The spectrogram is that of magnitudes, not of decibels, and a branch ends with the maximum over time.
    Neither layers nor batch norms have biases, so that no embedding is constant. `model.resolutions=[256,1024,4096]`
    adds spectrograms of other resolutions (`dis_multispec_scac_trainable`).

    Args:
        in_shape: (C, F, N) of the features; not used, it reads the waveform.
        n_classes: number of classes.
        resolutions: transform lengths of the spectrograms in samples; a hop is half of it.
        f_min: lowest frequency of the spectrograms in Hz.
        seconds: length in s to which a clip is cut, at a random place in training, or repeated. The branch of the
            whole spectrum needs about 70,000 samples and takes more seconds where these are fewer.
        sample_rate: sampling frequency in Hz.
        score: see `Classifier.score`; a back end replaces it.
        feat_ex: probability per clip of exchanging the parts of the embedding with other clips' in training, which a
            second head learns to tell (FeatEx; Wilkinghoff, ICASSP 2024); 0: no second head.
        subspace_loss: add the loss of each part of the embedding, with a head of its own.
        lr: learning rate of AdamW, with a weight decay of .01.
        **head: see `HeadClassifier`.
    """

    divides_ids = True
    trains_in_bfloat16 = True
    ids: Tensor

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        resolutions: Integers = (1024,),
        f_min: float = 200.0,
        seconds: float = 11.0,
        sample_rate: int = 16000,
        score: Score = "cross_entropy",
        feat_ex: float = 0.0,
        subspace_loss: bool = False,
        head: HeadName = "subcluster_adacos",
        lr: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(head=head, **options)
        need_classes(self.name, n_classes)
        self.uses_machine_id = score == "cross_entropy"
        if not resolutions:
            raise InputError("model.resolutions=[]: should name at least one transform length, such as [1024]")
        self.length = clip_length(resolutions, seconds, sample_rate)
        first = [math.ceil(f_min * n_fft / sample_rate) for n_fft in resolutions]
        _check_bins(resolutions, first)
        self.branches = nn.ModuleList(
            [*map(SpectrogramBranch, resolutions, first), SpectrumBranch(self.length)]  # each [B, T] -> [B, PART]
        )
        parts = len(self.branches)
        self.head = self.new_head(parts * PART, n_classes)
        self.part_heads = nn.ModuleList(
            self.new_head(PART, n_classes, trainable=True) for _ in range(parts if subspace_loss else 0)
        )
        self.exchange_head = (
            self.new_head(parts * PART, n_classes * (parts + 1), trainable=True) if feat_ex > 0 else None
        )
        self.register_buffer("ids", torch.arange(n_classes))  # machine ID number of each class

    def embed(self, batch: Batch) -> Tensor:
        """Concatenate the outputs of the branches, [B, 128 * branches]."""
        return torch.cat(self.parts(batch), dim=1)

    def parts(self, batch: Batch) -> list[Tensor]:
        """Compute the output of each branch, each [B, 128]."""
        wave = self.fit_length(batch.wave)
        return [branch(wave) for branch in self.branches]

    def fit_length(self, wave: Tensor) -> Tensor:
        """Repeat or cut clips to the detector's length, [B, T] -> [B, T']; cut at random in training."""
        wave = wave.repeat(1, math.ceil(self.length / wave.shape[1]))
        spare = wave.shape[1] - self.length
        if not self.training or spare == 0:
            return wave[:, : self.length]
        starts = torch.randint(spare + 1, (len(wave),)).tolist()
        return torch.stack([clip[start : start + self.length] for clip, start in zip(wave, starts, strict=True)])

    def posterior(self, batch: Batch) -> Tensor:
        """Compute the log posterior over machine IDs (or the classes of a classification), [B, 1, K]."""
        posterior = self.head.log_posterior(self.embed(batch))
        if self.ids[-1] + 1 < len(self.ids):  # several classes per ID
            groups = [posterior[:, self.ids == number].logsumexp(dim=1) for number in self.ids.unique()]
            posterior = torch.stack(groups, dim=1)
        return posterior[:, None]

    def loss(self, batch: Batch) -> Tensor:
        target = self.shares(batch, self.hparams.n_classes)
        parts = self.parts(batch)
        loss = self.head.loss(torch.cat(parts, dim=1), target)
        for head, part in zip(self.part_heads, parts, strict=False):
            loss = loss + cast(Head, head).loss(part, target)
        if self.exchange_head is not None and self.training:
            loss = loss + self.exchange_head.loss(*exchange(parts, target, self.hparams.feat_ex))
        return loss

    def on_fit_start(self) -> None:
        self.ids.copy_(self.trainer.datamodule.id_of_class())  # type: ignore[attr-defined]  # set by Lightning

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with the learning rate `lr` and torch's weight decay of .01."""
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, fused=True)


class SpectrogramBranch(nn.Module):
    """Residual network on the magnitudes of a spectrogram, [B, T] -> [B, 128].

    Magnitudes are divided by the root of the window's energy, and each bin is normalised over the batch.

    Args:
        n_fft: transform and window length in samples; the hop is half of it, and zeros are padded at both ends.
        first: lowest bin.
    """

    window: Tensor

    def __init__(self, n_fft: int, first: int) -> None:
        super().__init__()
        self.n_fft, self.first = n_fft, first
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        bins = n_fft // 2 + 1 - first
        self.norm = nn.BatchNorm1d(bins, affine=False)
        layers: list[nn.Module] = [
            nn.Conv2d(1, 16, 7, 2, bias=False),
            nn.BatchNorm2d(16, affine=False),
            nn.MaxPool2d(3, 2),
            nn.ReLU(inplace=True),  # before the pooling it gives the same and costs four times as much
        ]
        for before, after, stride in RESIDUAL_STAGES:
            layers += [NormalizedBlock(before, after, stride), NormalizedBlock(after, after, 1)]
        self.layers = nn.Sequential(*layers)
        with torch.no_grad():
            height = self.layers.eval()(torch.zeros(1, 1, bins, FEWEST)).shape[2]
        self.layers.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs
        self.out = nn.Sequential(
            nn.BatchNorm1d(RESIDUAL_STAGES[-1][1] * height, affine=False),
            nn.Linear(RESIDUAL_STAGES[-1][1] * height, PART, bias=False),
        )

    def forward(self, wave: Tensor) -> Tensor:
        images = self.norm(self.magnitudes(wave))[:, None]  # [B, 1, F, N]
        return self.out(self.layers(images).amax(dim=3).flatten(1))

    def magnitudes(self, wave: Tensor) -> Tensor:
        """Compute the spectrogram, [B, T] -> [B, F, N]."""
        spectrum = torch.stft(
            wave, self.n_fft, self.n_fft // 2, window=self.window, pad_mode="constant", return_complex=True
        )
        return spectrum[:, self.first :].abs() / self.window.square().sum().sqrt()


class NormalizedBlock(nn.Module):
    """Batch norm x, then x + SE(conv(ReLU(BN(conv(ReLU(x)))))); x is pooled and convolved 1 x 1 where shapes differ."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels_in, affine=False)
        self.layers = nn.Sequential(
            nn.ReLU(),  # not in place: the input is added below
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out, affine=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            SqueezeExcitation(channels_out),
        )
        self.short: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.short = nn.Sequential(nn.MaxPool2d(3, stride, 1), nn.Conv2d(channels_in, channels_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps, [B, C, F, N] -> [B, C', F', N']."""
        x = self.norm(x)
        return self.short(x) + self.layers(x)


class SpectrumBranch(nn.Module):
    """Convolutions along the magnitudes of the spectrum of a whole clip, then dense layers, [B, T] -> [B, 128].

    Args:
        length: samples of a clip, T.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, kernel, stride in FFT_CONVS:
            layers += [
                nn.Conv1d(channels, PART, kernel, stride, bias=False),
                nn.ReLU(inplace=True),
                SqueezeExcitation(PART),
            ]
        widths = [PART * _positions(length // 2 + 1), *[PART] * 5]
        layers.append(nn.Flatten())
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after, affine=False), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Linear(PART, PART, bias=False))

    def forward(self, wave: Tensor) -> Tensor:
        return self.layers(magnitudes(wave)[:, None])


def magnitudes(wave: Tensor) -> Tensor:
    """Compute the magnitudes of the spectrum of whole clips, [B, T] -> [B, T/2+1].

    In an exported graph by matrices, after dividing the length into two factors (Cooley and Tukey, Mathematics of
    Computation 1965): runtimes transform lengths that are no power of 2 slowly, and inexactly.
    """
    length = wave.shape[1]
    rows = next(count for count in range(math.isqrt(length), 0, -1) if length % count == 0)
    if not torch.compiler.is_exporting():
        return torch.fft.rfft(wave).abs()
    if rows < FEWEST_ROWS:
        return torch.fft.rfft(wave.double()).abs().float()
    columns = length // rows
    (cos, sin), (cos_2, sin_2) = _turns(rows, rows, rows), _turns(columns, columns // 2 + 1, columns)
    x = wave.unflatten(1, (rows, columns))
    real, imag = cos @ x, -sin @ x  # [B, rows, columns]
    cos, sin = _turns(rows, columns, length)
    real, imag = real * cos + imag * sin, imag * cos - real * sin
    real, imag = real @ cos_2 + imag @ sin_2, imag @ cos_2 - real @ sin_2  # [B, rows, columns/2+1]
    return (real.square() + imag.square()).sqrt().transpose(1, 2).flatten(1)[:, : length // 2 + 1]


def _turns(rows: int, columns: int, steps: int) -> tuple[Tensor, Tensor]:
    """Compute cosine and sine of row times column steps of a turn, each [rows, columns]."""
    angle = 2 * math.pi / steps * (torch.arange(rows)[:, None] * torch.arange(columns) % steps).double()
    return angle.cos().float(), angle.sin().float()


class SqueezeExcitation(nn.Module):
    """Weighting of channels by their means, x * sigmoid(FC(ReLU(FC(mean(x))))) (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // SQUEEZE, bias=False)
        self.excite = nn.Linear(channels // SQUEEZE, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weight channels, [B, C, ...] -> [B, C, ...]."""
        weight = self.excite(F.relu(self.squeeze(x.mean(dim=tuple(range(2, x.ndim)))))).sigmoid()
        return x * weight.view(*weight.shape, *[1] * (x.ndim - 2))


def exchange(parts: list[Tensor], target: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Exchange parts of embeddings between clips, with probability `p` per clip; its first part stays.

    Args:
        parts: P parts of the embeddings, each [B, D].
        target: shares of the classes [B, K].

    Returns:
        Embeddings [B, P D], and shares of K (P + 1) classes: the first K are those of clips that are left as they are;
        then, for each part, K that say whose clip it is, with 1 / P of the share.
    """
    clips, device = len(target), target.device
    exchanged = torch.rand(clips, 1, device=device) < p
    order = [torch.arange(clips, device=device)] + [torch.randperm(clips, device=device) for _ in parts[1:]]
    mixed = [torch.where(exchanged, part[rows], part) for part, rows in zip(parts, order, strict=True)]
    shares = [target * ~exchanged, *(target[rows] * exchanged / len(parts) for rows in order)]
    return torch.cat(mixed, dim=1), torch.cat(shares, dim=1)


def clip_length(resolutions: Integers, seconds: float, sample_rate: int) -> int:
    """Return the samples of a clip: `seconds`, but no fewer than every branch needs."""
    bins = 1
    for _, kernel, stride in reversed(FFT_CONVS):
        bins = (bins - 1) * stride + kernel
    frames = (FEWEST - 1) * max(n_fft // 2 for n_fft in resolutions)
    return max(round(seconds * sample_rate), 2 * (bins - 1), frames)


def _positions(bins: int) -> int:
    """Return the values per channel that the convolutions leave of a spectrum of `bins` bins."""
    for _, kernel, stride in FFT_CONVS:
        bins = (bins - kernel) // stride + 1
    return bins


def _check_bins(resolutions: Integers, first: list[int]) -> None:
    for n_fft, lowest in zip(resolutions, first, strict=True):
        if n_fft // 2 + 1 - lowest < FEWEST:
            raise InputError(
                f"model.resolutions={n_fft} has {max(0, n_fft // 2 + 1 - lowest)} bins above model.f_min and needs "
                f"{FEWEST}: set a larger one, a lower model.f_min or a higher dataset.sample_rate"
            )
