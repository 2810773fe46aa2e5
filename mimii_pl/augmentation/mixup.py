"""Mix-up: weighted sums of clips, with their weighted classes as soft targets."""

import torch
from torch import nn

from mimii_pl.dataset._clip import Batch


class MixUp(nn.Module):
    """Weighted sums of `parts` clips in place of some clips, with weights drawn from a Dirichlet distribution.

    Waveforms, representations and targets are summed with the same weights, so the loss is the cross-entropy with soft
    targets (mix-up: Zhang et al., ICLR 2018, with two parts). With `alpha=1` and two parts the weight is uniform.

    Args:
        p: probability per clip.
        alpha: concentration of the Dirichlet distribution; small values keep one clip dominant.
        parts: number of clips in a sum, including the clip itself.
    """

    def __init__(self, *, p: float = 0.5, alpha: float = 0.2, parts: int = 2) -> None:
        super().__init__()
        self.p, self.alpha, self.parts = p, alpha, parts

    def forward(self, batch: Batch) -> Batch:
        assert batch.spec is not None
        assert batch.target is not None
        clips, device = len(batch.spec), batch.spec.device
        concentration = torch.full((self.parts,), float(self.alpha), device=device)
        weight = torch.distributions.Dirichlet(concentration).sample((clips,))
        unmixed = torch.rand(clips, 1, device=device) >= self.p
        weight = torch.where(unmixed, torch.eye(self.parts, device=device)[0], weight)  # [B, parts]
        order = [torch.arange(clips, device=device)] + [
            torch.randperm(clips, device=device) for _ in range(self.parts - 1)
        ]
        wave, spec, target = map(torch.zeros_like, (batch.wave, batch.spec, batch.target))
        for share, rows in zip(weight.T, order, strict=True):
            wave = wave + share[:, None] * batch.wave[rows]
            spec = spec + share[:, None, None, None] * batch.spec[rows]
            target = target + share[:, None] * batch.target[rows]
        return batch._replace(wave=wave, spec=spec, target=target)
