"""Attenuation of frequency bands."""

import torch
from torch import nn

from mimii_pl.dataset._clip import Batch


class BandMask(nn.Module):
    """Attenuation of a few narrow frequency bands of some clips, the same in all channels and frames.

    Args:
        p: probability per clip.
        max_bands: largest number of bands per clip, at least 1.
        min_width: narrowest band in bins.
        max_width: widest band in bins.
        low: strongest attenuation (factor).
        high: weakest attenuation (factor).
    """

    def __init__(
        self,
        *,
        p: float = 0.15,
        max_bands: int = 3,
        min_width: int = 2,
        max_width: int = 8,
        low: float = 0.1,
        high: float = 0.3,
    ) -> None:
        super().__init__()
        self.p, self.max_bands, self.min_width, self.max_width = p, max_bands, min_width, max_width
        self.low, self.high = low, high

    def forward(self, batch: Batch) -> Batch:
        assert batch.spec is not None
        clips, _, bins, _ = batch.spec.shape
        shape, device = (clips, self.max_bands), batch.spec.device
        width = torch.randint(self.min_width, self.max_width + 1, shape, device=device)
        start = (torch.rand(shape, device=device) * (bins - width + 1)).long()
        factor = self.low + (self.high - self.low) * torch.rand(shape, device=device)
        count = torch.randint(1, self.max_bands + 1, (clips, 1), device=device)
        used = (torch.arange(self.max_bands, device=device) < count) & (torch.rand(clips, 1, device=device) < self.p)
        bin_ = torch.arange(bins, device=device)
        inside = (bin_ >= start[..., None]) & (bin_ < (start + width)[..., None]) & used[..., None]  # [B, bands, F]
        gain = torch.where(inside, factor[..., None], 1.0).prod(dim=1)  # [B, F]
        return batch._replace(spec=batch.spec * gain[:, None, :, None])
