"""Shift of the representation by a few frequency bins."""

import torch
from torch import nn

from mimii_pl.dataset._clip import Batch


class FrequencyShift(nn.Module):
    """Circular shift of some clips along frequency, like a machine that runs slightly faster or slower.

    Args:
        p: probability per clip.
        max_bins: largest shift in bins, either way.
    """

    def __init__(self, *, p: float = 0.1, max_bins: int = 2) -> None:
        super().__init__()
        self.p, self.max_bins = p, max_bins

    def forward(self, batch: Batch) -> Batch:
        assert batch.spec is not None
        clips, _, bins, _ = batch.spec.shape
        device = batch.spec.device
        shift = torch.randint(-self.max_bins, self.max_bins + 1, (clips, 1), device=device)
        shift = shift * (torch.rand(clips, 1, device=device) < self.p)
        source = (torch.arange(bins, device=device) - shift) % bins  # [B, F]
        return batch._replace(spec=batch.spec.gather(2, source[:, None, :, None].expand_as(batch.spec)))
