"""BEATs, a transformer over patches of the spectrum that places them by their distance, as its third iteration."""

import math
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._embedder import Embedder, kaldi_bands, renamed


class BEATs(Embedder):
    """Audio pre-training with acoustic tokenizers (Chen et al., ICML 2023), clips of up to 10.24 s at a time.

    Weights of the authors fit, pre-trained or fine-tuned, for example those of `BEATs_iter3_plus_AS2M.pt` (MIT). The
    spectrum is Kaldi's log-mel filter bank, 25 ms every 10 ms, of the waveform in steps of 16 bits. Patches do not
    overlap, and a clip's last frames that do not fill one are left out.

    Args:
        size: values of a token.
        heads: of the attention.
        depth: layers.
        width: frames of a window.
        patch_size: values of a patch before they are projected to `size`.
    """

    rate = 16000
    exportable = False
    patch, bands = 16, 128
    settings = MappingProxyType(
        {
            "encoder_attention_heads": 12,
            "max_distance": 800,
            "activation_fn": "gelu",
            "layer_norm_first": False,
            "deep_norm": True,
            "relative_position_embedding": True,
            "gru_rel_pos": True,
        }
    )

    def __init__(
        self, size: int = 768, heads: int = 12, depth: int = 12, width: int = 1024, patch_size: int = 512
    ) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.patches = nn.Conv2d(1, patch_size, self.patch, self.patch, bias=False)
        self.patch_norm, self.project = nn.LayerNorm(patch_size), nn.Linear(patch_size, size)
        self.position = nn.Conv1d(size, size, 128, padding=64, groups=16)
        self.norm = nn.LayerNorm(size)
        self.distances = nn.Embedding(320, heads)
        self.blocks = nn.ModuleList(_GatedBlock(size, heads, depth) for _ in range(depth))

    @property
    def shortest(self) -> int:
        return self.patch

    def spectrum(self, wave: Tensor) -> Tensor:
        return (kaldi_bands(wave * 2**15, self.rate, self.bands, "povey") - 15.41663) / (2 * 6.55582)

    def maps(self, windows: Tensor, layers: list[int]) -> list[Tensor]:
        x = self.patches(windows[:, None])  # [M, patch_size, T, R]
        rows = x.shape[3]
        x = self.project(self.patch_norm(x.flatten(2).transpose(1, 2)))  # [M, T * R, size]
        near = self.position(x.transpose(1, 2))[..., :-1]  # an even kernel gives one token more
        x = self.norm(x + F.gelu(near).transpose(1, 2))
        tokens = torch.arange(x.shape[1], device=x.device)
        buckets = distance_buckets(tokens - tokens[:, None], len(self.distances.weight), self.settings["max_distance"])
        bias = self.distances(buckets).permute(2, 0, 1)  # [heads, query, key]
        outputs = []
        for block in self.blocks:
            x = block(x, bias)
            outputs.append(x)
        return [outputs[layer].unflatten(1, (-1, rows)) for layer in layers]

    def steps(self, frames: int) -> int:
        return max(1, min(frames, self.width) // self.patch)

    @staticmethod
    def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = dict(state)
        gain, direction = (state.pop(f"encoder.pos_conv.0.weight_{part}", None) for part in "gv")
        if gain is not None and direction is not None:
            state["position.weight"] = gain * direction / direction.norm(dim=(0, 1), keepdim=True)
        shared = state.get(f"encoder.layers.0.{SHARED}")
        if shared is not None:  # each layer holds a copy; one that differs stays, and so is refused
            state = {name: x for name, x in state.items() if not (name.endswith(SHARED) and torch.equal(x, shared))}
            state["distances.weight"] = shared
        return {renamed(name, BEATS_NAMES): x for name, x in state.items() if not name.startswith("predictor.")}


SHARED = "self_attn.relative_attention_bias.weight"
BEATS_NAMES = (  # parts of the authors' names -> here, in this order
    ("encoder.layers.", "blocks."),
    ("self_attn_layer_norm.", "norm_attention."),
    ("final_layer_norm.", "norm_out."),
    ("encoder.layer_norm.", "norm."),
    ("layer_norm.", "patch_norm."),
    ("encoder.pos_conv.0.", "position."),
    ("patch_embedding.", "patches."),
    ("post_extract_proj.", "project."),
    ("self_attn.", ""),
    ("q_proj.", "query."),
    ("k_proj.", "key."),
    ("v_proj.", "value."),
    ("out_proj.", "out."),
    ("grep_linear.", "gate."),
    ("grep_a", "gate_gain"),
    ("fc1.", "up."),
    ("fc2.", "down."),
)


def distance_buckets(distance: Tensor, buckets: int, longest: int) -> Tensor:
    """Number the distances of tokens: half of the buckets are for each sign, and half of these for one distance each.

    The others grow logarithmically up to `longest` tokens; larger distances share the last one.
    """
    each = buckets // 2
    exact = each // 2
    size = distance.abs()
    ratio = torch.log(size.clamp(min=1).float() / exact) / math.log(longest / exact)
    coarse = (exact + (ratio * (each - exact)).long()).clamp(max=each - 1)
    return torch.where(size < exact, size, coarse) + each * (distance > 0)


class _GatedBlock(nn.Module):
    """Attention whose distance bias each query weights by a gate, and norms after each sum (deep norm)."""

    def __init__(self, size: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads, self.residual_gain = heads, (2 * depth) ** 0.25
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.gate, self.gate_gain = nn.Linear(size // heads, 8), nn.Parameter(torch.ones(1, heads, 1, 1))
        self.norm_attention, self.norm_out = nn.LayerNorm(size), nn.LayerNorm(size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        gates = self.gate(query).unflatten(3, (2, 4)).sum(dim=4).sigmoid()  # [M, heads, tokens, 2]
        weight = gates[..., :1] * (gates[..., 1:] * self.gate_gain - 1) + 2
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=weight * bias)
        x = self.norm_attention(self.residual_gain * x + self.out(attended.transpose(1, 2).flatten(2)))
        return self.norm_out(self.residual_gain * x + self.down(F.gelu(self.up(x))))
