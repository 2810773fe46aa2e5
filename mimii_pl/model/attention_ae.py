"""Auto-encoder with self-attention over frames."""

from typing import Any

from torch import nn

from mimii_pl.model._encoders import FrameAttention, attention_encoder, dense
from mimii_pl.model._window_ae import WindowAE


class AttentionAE(WindowAE):
    """Auto-encoder with self-attention over the frames of a log-mel window (Vaswani et al., NeurIPS 2017).

    One of the MIMII framework's auto-encoders. Each frame is a token of `hidden` values with a learned position; after
    attention, dense layers width-`squeeze`-bottleneck encode the window, and the decoder mirrors all of it. (The source
    document attends over a single token, which amounts to a linear layer.)

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: size of a token; a multiple of `heads`.
        heads: attention heads.
        squeeze: units of the dense layer.
        bottleneck: units of the middle layer.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: int = 64,
        heads: int = 8,
        squeeze: int = 128,
        bottleneck: int = 64,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        tokens = (self.frames, hidden)
        self.encoder = attention_encoder(self.frames, self.bins, hidden, heads, squeeze, bottleneck)
        self.decoder = nn.Sequential(
            *dense(bottleneck, squeeze),
            nn.Linear(squeeze, self.frames * hidden),
            nn.Unflatten(1, tokens),
            FrameAttention(*tokens, heads),
            nn.Linear(hidden, self.bins),
            nn.Flatten(),
        )
