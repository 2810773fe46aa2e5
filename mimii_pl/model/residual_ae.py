"""Auto-encoder of residual blocks."""

from typing import Any

from torch import nn

from mimii_pl.model._encoders import ResidualBlock
from mimii_pl.model._window_ae import WindowAE


class ResidualAE(WindowAE):
    """Dense auto-encoder of log-mel windows whose hidden layers are residual blocks (He et al., CVPR 2016).

    One of the MIMII framework's auto-encoders. No skip connection crosses the bottleneck, so the whole reconstruction
    passes through it.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: width of the blocks.
        blocks: residual blocks before the bottleneck, and after it.
        bottleneck: units of the middle layer.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: int = 128,
        blocks: int = 2,
        bottleneck: int = 16,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        before, after = ([ResidualBlock(hidden) for _ in range(blocks)] for _ in range(2))
        self.encoder = nn.Sequential(nn.Linear(self.width, hidden), *before, nn.Linear(hidden, bottleneck))
        self.decoder = nn.Sequential(nn.Linear(bottleneck, hidden), *after, nn.Linear(hidden, self.width))
