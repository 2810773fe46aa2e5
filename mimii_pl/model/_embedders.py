"""Networks trained by others on much audio, as embeddings; `EMBEDDERS` lists them."""

import math
import re
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._beats import BEATs
from mimii_pl.model._eat import EAT
from mimii_pl.model._embedder import Embedder, kaldi_bands, renamed


class AISFX(Embedder):
    """Convolutional network of the sound-effect embeddings aisfx (Ma, Lerch, ISMIR 2022), 2.3 s at a time.

    The spectrum is that of the package's librosa variant: HTK bands whose weights sum to 1, of the waveform scaled to
    a peak of 1, as log10(1 + 10,000 x) / 9.4578. Its own embedding is the mean over frequencies and the maximum over
    time.
    """

    rate, width, depth = 44100, 100, 1
    bank: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        channels = (1, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(_ConvBlock(*pair) for pair in pairwise(channels))
        bank = torch.from_numpy(htk_bank(self.rate, 2048, 96)).float()
        self.register_buffer("bank", bank / bank.sum(dim=1, keepdim=True), persistent=False)
        self.register_buffer("window", torch.hann_window(2048), persistent=False)

    def spectrum(self, wave: Tensor) -> Tensor:
        peak = wave.abs().amax(dim=1, keepdim=True)
        wave = wave / torch.where(peak > 0, peak, 1)
        spectrum = torch.stft(wave, 2048, 1024, window=self.window, pad_mode="constant", return_complex=True)
        bands = self.bank @ (spectrum * spectrum.conj()).real  # [B, F, N]
        return (1 + 10_000 * bands).log10().transpose(1, 2) / 9.457798957824707

    def maps(self, windows: Tensor, layers: list[int]) -> list[Tensor]:
        x = windows[:, None]  # [M, 1, N, F]
        for number, block in enumerate(self.blocks):
            x = block(x)
            x = F.max_pool2d(x, 2) if number < len(self.blocks) - 1 else x
        return [x.permute(0, 2, 3, 1)] * len(layers)

    def steps(self, frames: int) -> int:
        return min(math.ceil(frames / 8), self.width // 8)

    @staticmethod
    def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
        return {re.sub(r"^(embedding_net\.)?conv_block(\d)", _block_name, name): kept[name] for name in kept}


class _ConvBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def _block_name(match: re.Match[str]) -> str:
    return f"blocks.{int(match[2]) - 1}"


class AST(Embedder):
    """Audio spectrogram transformer (Gong, Chung, Glass, Interspeech 2021), 10.24 s at a time.

    Weights of `transformers` fit, for example those of `MIT/ast-finetuned-audioset-10-10-0.4593`. The spectrum is
    Kaldi's log-mel filter bank, 25 ms every 10 ms, with the mean and deviation of AudioSet.

    Args:
        size: values of a token.
        heads: of the attention.
        depth: layers.
        width: frames of a window.
    """

    rate = 16000
    exportable = False
    patch, stride, bands = 16, 10, 128

    def __init__(self, size: int = 768, heads: int = 12, depth: int = 12, width: int = 1024) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        rows, steps = ((edge - self.patch) // self.stride + 1 for edge in (self.bands, width))
        self.rows = rows
        self.patches = nn.Conv2d(1, size, self.patch, self.stride)
        self.class_token, self.distillation_token = (nn.Parameter(torch.zeros(1, 1, size)) for _ in range(2))
        self.positions = nn.Parameter(torch.zeros(1, rows * steps + 2, size))
        self.blocks = nn.ModuleList(_TransformerBlock(size, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(size, eps=1e-12)

    def spectrum(self, wave: Tensor) -> Tensor:
        return (kaldi_bands(wave, self.rate, self.bands, "hanning") + 4.2677393) / (2 * 4.5689974)

    def maps(self, windows: Tensor, layers: list[int]) -> list[Tensor]:
        x = self.patches(windows.transpose(1, 2)[:, None])  # [M, size, R, T]
        tokens = [token.expand(x.shape[0], -1, -1) for token in (self.class_token, self.distillation_token)]
        x = torch.cat([*tokens, x.flatten(2).transpose(1, 2)], dim=1) + self.positions
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        outputs[-1] = self.norm(x)
        return [outputs[layer][:, 2:].unflatten(1, (self.rows, -1)).transpose(1, 2) for layer in layers]

    def steps(self, frames: int) -> int:
        return max(1, (min(frames, self.width) - self.patch) // self.stride + 1)

    @staticmethod
    def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {renamed(name, AST_NAMES): value for name, value in state.items()}
        return {name: value for name, value in own.items() if not name.startswith("classifier.")}


AST_NAMES = (  # parts of names in transformers -> here, in this order
    ("audio_spectrogram_transformer.", ""),
    ("embeddings.cls_token", "class_token"),
    ("embeddings.distillation_token", "distillation_token"),
    ("embeddings.position_embeddings", "positions"),
    ("embeddings.patch_embeddings.projection", "patches"),
    ("encoder.layer.", "blocks."),
    ("attention.attention.", ""),
    ("attention.output.dense", "out"),
    ("intermediate.dense", "up"),
    ("output.dense", "down"),
    ("layernorm_", "norm_"),
    ("layernorm.", "norm."),
)


class _TransformerBlock(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.norm_before, self.norm_after = nn.LayerNorm(size, eps=1e-12), nn.LayerNorm(size, eps=1e-12)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_before(x)
        parts = [
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]
        x = x + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_after(x))))


EMBEDDERS: dict[str, type[Embedder]] = {"aisfx": AISFX, "ast": AST, "beats": BEATs, "eat": EAT}


def htk_bank(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Compute triangular filters on the HTK mel scale, up to half the sampling frequency, [n_mels, n_fft/2+1]."""
    mel = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), n_mels + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))
