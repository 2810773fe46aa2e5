"""Mix-up over machine IDs: sums of clips with the shares of their IDs as soft targets."""

import torch
from torch import nn

from mimii_pl.dataset._clip import Batch


class MixUp(nn.Module):
    """Replaces some clips by weighted sums of `parts` clips of the batch, weights drawn from a Dirichlet distribution.

    Targets become the same weighted sums, so that the loss is the cross entropy with soft targets (mix-up: Zhang et
    al., ICLR 2018, there with two parts).

    Args:
        p: probability per clip.
        alpha: concentration of the Dirichlet distribution; small values keep one clip dominant.
        parts: clips in a sum, the clip itself among them.
    """

    def __init__(self, *, p: float = 0.5, alpha: float = 0.2, parts: int = 2) -> None:
        super().__init__()
        self.p, self.alpha, self.parts = p, alpha, parts

    def forward(self, batch: Batch) -> Batch:
        clips, device = len(batch.spec), batch.spec.device
        weight = torch.distributions.Dirichlet(torch.full((self.parts,), float(self.alpha), device=device)).sample(
            (clips,)
        )
        unmixed = torch.rand(clips, 1, device=device) >= self.p
        weight = torch.where(unmixed, torch.eye(self.parts, device=device)[0], weight)  # [B, parts]
        order = [torch.arange(clips, device=device)] + [
            torch.randperm(clips, device=device) for _ in range(self.parts - 1)
        ]
        spec = sum(w[:, None, None, None] * batch.spec[rows] for w, rows in zip(weight.T, order, strict=True))
        target = sum(w[:, None] * batch.target[rows] for w, rows in zip(weight.T, order, strict=True))
        return batch._replace(spec=spec, target=target)
