"""EAT, a transformer over patches of the spectrum with fixed positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._embedder import Embedder, kaldi_bands, renamed


class EAT(Embedder):
    """Efficient audio transformer, base (Chen et al., IJCAI 2024), clips of up to 10.24 s at a time.

    Weights that the authors keep on the Hugging Face hub fit, for example those of
    `worstchan/EAT-base_epoch30_pretrain` (MIT). The spectrum is Kaldi's log-mel filter bank, 25 ms every 10 ms, of the
    waveform without its mean, with the mean and deviation of AudioSet. Patches do not overlap, and a clip's last frames
    that do not fill one are left out.

    Args:
        size: values of a token, a multiple of 4.
        heads: of the attention.
        depth: layers.
        width: frames of a window.
    """

    rate = 16000
    exportable = False
    patch, bands = 16, 128

    def __init__(self, size: int = 768, heads: int = 12, depth: int = 12, width: int = 1024) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.patches = nn.Conv2d(1, size, self.patch, self.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, size))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.blocks = nn.ModuleList(_SumNormBlock(size, heads) for _ in range(depth))

    @property
    def shortest(self) -> int:
        return self.patch

    def spectrum(self, wave: Tensor) -> Tensor:
        wave = wave - wave.mean(dim=1, keepdim=True)
        return (kaldi_bands(wave, self.rate, self.bands, "hanning") + 4.268) / (2 * 4.569)

    def maps(self, windows: Tensor, layers: list[int]) -> list[Tensor]:
        x = self.patches(windows[:, None])  # [M, size, T, R]
        steps, rows = x.shape[2:]
        x = x.flatten(2).transpose(1, 2) + grid_positions(steps, rows, x.shape[1]).to(x)
        x = self.norm(torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1))
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return [outputs[layer][:, 1:].unflatten(1, (steps, rows)) for layer in layers]

    def steps(self, frames: int) -> int:
        return max(1, min(frames, self.width) // self.patch)

    @staticmethod
    def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {renamed(name, EAT_NAMES): value for name, value in state.items()}
        stored = own.get(POSITIONS)
        if stored is not None and stored.ndim == 3 and stored.shape[1] % 8 == 0 and stored.shape[2] % 4 == 0:
            expected = grid_positions(stored.shape[1] // 8, 8, stored.shape[2])
            if torch.allclose(stored[0].float(), expected, atol=1e-3):  # others stay, and so are refused
                del own[POSITIONS]
        return {name: value for name, value in own.items() if not name.startswith(("head.", "fc_norm."))}


POSITIONS = "fixed_positional_encoder.positions"
EAT_NAMES = (  # parts of names on the hub -> here, in this order
    ("model.", ""),
    ("local_encoder.proj.", "patches."),
    ("extra_tokens", "class_token"),
    ("pre_norm.", "norm."),
    ("attn.qkv.", "query_key_value."),
    ("attn.proj.", "out."),
    ("norm1.", "norm_attention."),
    ("norm2.", "norm_out."),
    ("mlp.fc1.", "up."),
    ("mlp.fc2.", "down."),
)


def grid_positions(steps: int, rows: int, size: int) -> Tensor:
    """Compute sines and cosines of row and step of each patch, steps first, [steps * rows, size].

    A quarter of the values each: sines of the row, its cosines, sines of the step, its cosines, at wavelengths from
    2 pi to almost 20,000 pi.
    """
    frequency = 10_000 ** -(torch.arange(size // 4) / (size // 4)).double()
    waves = [torch.arange(count).double()[:, None] * frequency for count in (rows, steps)]
    of_rows, of_steps = (torch.cat([wave.sin(), wave.cos()], dim=1) for wave in waves)
    return torch.cat([of_rows.repeat(steps, 1), of_steps.repeat_interleave(rows, dim=0)], dim=1).float()


class _SumNormBlock(nn.Module):
    """Transformer layer with a norm after each sum."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.norm_attention, self.norm_out = nn.LayerNorm(size, eps=1e-6), nn.LayerNorm(size, eps=1e-6)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.query_key_value(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = self.norm_attention(x + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)))
        return self.norm_out(x + self.down(F.gelu(self.up(x))))
