"""Variational auto-encoder over windows of frames."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._variational import divergence, sample
from mimii_pl.model._window_ae import WindowAE


class VAE(WindowAE):
    """Variational auto-encoder over windows of log-mel frames (Kingma, Welling, ICLR 2014).

    One of the MIMII framework's auto-encoders. Loss: squared error summed over a window plus the Kullback-Leibler
    divergence of the posterior from N(0, 1), averaged over windows. Score: mean squared error of the window decoded
    from the posterior's mean, so that it is deterministic. Embedding: that mean.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: units of the layers from input to bottleneck; the decoder mirrors them.
        bottleneck: dimensions of the latent variable.
        beta: weight of the divergence.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: Integers = (128, 64),
        bottleneck: int = 16,
        beta: float = 1.0,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        self.trunk = nn.Sequential(*dense(self.width, *hidden))
        self.mean, self.log_variance = (nn.Linear(hidden[-1], bottleneck) for _ in range(2))
        self.decoder = nn.Sequential(*dense(bottleneck, *reversed(hidden)), nn.Linear(hidden[0], self.width))

    def encoder(self, x: Tensor) -> Tensor:
        return self.mean(self.trunk(x))

    def loss(self, batch: Batch) -> Tensor:
        x = self.windows(batch).flatten(0, 1)
        hidden = self.trunk(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = sample(mean, log_variance) if self.training else mean
        error = F.mse_loss(self.decoder(z), x, reduction="none").sum(dim=1)
        return (error + self.hparams.beta * divergence(mean, log_variance)).mean()
