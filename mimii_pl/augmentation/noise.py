"""White noise on the representation."""

import torch
from torch import nn

from mimii_pl.dataset._clip import Batch


class Noise(nn.Module):
    """Gaussian noise added to some clips, at a random fraction of the clip's root mean square.

    Args:
        p: probability per clip.
        low: smallest noise amplitude, relative to the clip's RMS.
        high: largest noise amplitude, relative to the clip's RMS.
    """

    def __init__(self, *, p: float = 0.2, low: float = 0.01, high: float = 0.05) -> None:
        super().__init__()
        self.p, self.low, self.high = p, low, high

    def forward(self, batch: Batch) -> Batch:
        assert batch.spec is not None
        spec = batch.spec
        draw = torch.rand(2, len(spec), 1, 1, 1, device=spec.device)
        level = (self.low + (self.high - self.low) * draw[0]) * spec.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return batch._replace(spec=spec + torch.randn_like(spec) * level * (draw[1] < self.p))
