"""Adversarial detector that searches for the generator input that best reproduces a clip."""

from typing import Any

import torch
from torch import Tensor

from mimii_pl.model._gan import GAN


class AnoGAN(GAN):
    """AnoGAN on log-mel crops, scored by a search in the latent space of a generator (Schlegl et al., IPMI 2017).

    Slow to score: use `f_anogan` unless the search itself is of interest. A DCGAN learns to generate normal crops. To
    score clips, the latents of all crops in the batch are optimized at once by gradient descent, each until its own
    loss is flat. Score: the lowest (1 - lambda) |x - G(z)| + lambda |f(x) - f(G(z))|, both means, with f the
    discriminator's last features, averaged over crops that cover the clip. Every search starts from the same latent, so
    scores are deterministic.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        steps: maximum steps of the search.
        search_lr: Adam's learning rate in the search.
        tolerance: a search ends if `patience` steps lower its loss by a smaller share than this.
        patience: steps between two such checks.
        lambda_: weight of the features relative to the residual.
        val_steps: steps of the search in validation.
        **gan: see `GAN`.
    """

    start: Tensor
    exportable = False  # it searches, with gradients, until losses are flat

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        steps: int = 1000,
        search_lr: float = 1e-2,
        tolerance: float = 1e-3,
        patience: int = 50,
        lambda_: float = 0.1,
        val_steps: int = 20,
        **gan: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **gan)
        start = torch.randn(1, self.hparams.latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("start", start)

    def crop_scores(self, crops: Tensor) -> Tensor:
        in_fit = self._trainer is not None and self.trainer.state.fn == "fit"
        return self.search(crops, self.hparams.val_steps if in_fit else self.hparams.steps)

    def distance(self, x: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Compute the distance of each crop from the image of its latent, [M].

        Args:
            x: crops, [M, 1, F, N].
            features: the discriminator's features of the crops, [M, D].
            z: latents, [M, latent].
        """
        image = self.generator(z)
        residual = (x - image).abs().flatten(1).mean(dim=1)
        if not self.hparams.lambda_:
            return residual
        difference = (features - self.discriminator(image)[1]).abs().mean(dim=1)
        return (1 - self.hparams.lambda_) * residual + self.hparams.lambda_ * difference

    def search(self, crops: Tensor, steps: int) -> Tensor:
        """Find the lowest distance of each crop, [M, 1, F, N] -> [M]; searches do not affect one another."""
        training = self.training
        self.eval()
        with torch.inference_mode(False), torch.enable_grad():
            x = crops.detach().clone()
            for parameter in self.parameters():
                parameter.requires_grad_(False)
            try:
                lowest = self._descend(x, steps)
            finally:
                for parameter in self.parameters():
                    parameter.requires_grad_(True)
        self.train(training)
        return lowest

    def _descend(self, x: Tensor, steps: int) -> Tensor:
        features = self.discriminator(x)[1]
        z = self.start.clone().repeat(len(x), 1).requires_grad_()
        adam = torch.optim.Adam([z], lr=self.hparams.search_lr)
        best = torch.full((len(x),), torch.inf, device=x.device)
        before, active = best.clone(), torch.ones_like(best, dtype=torch.bool)
        for step in range(1, steps + 1):
            distance = self.distance(x, features, z)
            best = torch.where(active, torch.minimum(best, distance.detach()), best)
            adam.zero_grad()
            distance.sum().backward()
            adam.step()
            if step % self.hparams.patience == 0:
                active &= best < (1 - self.hparams.tolerance) * before
                before = best.clone()
                if not active.any():
                    break
        return best
