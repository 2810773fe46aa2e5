"""Variational classifier of windows of frames."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._variational import divergence, sample
from mimii_pl.model._window_classifier import WindowClassifier


class VAEClassifier(WindowClassifier):
    """Classifier of log-mel windows through a variational information bottleneck (Alemi et al., ICLR 2017).

    One of the MIMII framework's classifiers: the encoder of `vae`, followed by a linear layer. Loss: cross entropy of a
    draw from the posterior plus its divergence from N(0, 1). Predictions use the posterior's mean.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        hidden: units of the layers from input to bottleneck.
        bottleneck: dimensions of the latent variable.
        beta: weight of the divergence.
        **window: see `WindowClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        hidden: Integers = (128, 64),
        bottleneck: int = 16,
        beta: float = 1e-3,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **window)
        self.trunk = nn.Sequential(*dense(self.width, *hidden))
        self.mean, self.log_variance = (nn.Linear(hidden[-1], bottleneck) for _ in range(2))
        self.set_head(bottleneck)

    def encoder(self, x: Tensor) -> Tensor:
        return self.mean(self.trunk(x))

    def loss(self, batch: Batch) -> Tensor:
        windows = self.windows(batch)
        hidden = self.trunk(windows.flatten(0, 1))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = sample(mean, log_variance) if self.training else mean
        error = self.cross_entropy(self.head(z).unflatten(0, windows.shape[:2]), batch)
        return error + self.hparams.beta * divergence(mean, log_variance).mean()
