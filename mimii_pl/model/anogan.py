"""Generative adversarial detection: search the generator's inputs for the one that explains a clip."""

import torch
from torch import Tensor

from mimii_pl.model._gan import GAN


class AnoGAN(GAN):
    """AnoGAN (Schlegl et al., IPMI 2017) on crops of the log-mel spectrum.

    A DCGAN learns to generate normal crops. To score a clip, the latents of all its crops, and of all clips of the
    batch, are searched at once by gradient descent, each until its own loss is flat. Score: the lowest
    (1 - lambda) |x - G(z)| + lambda |f(x) - f(G(z))|, both means, with f the discriminator's last features; the mean
    over crops that cover the clip. Every search starts from the same latent, so scores do not depend on chance.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        steps: of the search, at most.
        search_lr: Adam's step in the search.
        tolerance: a search ends when `patience` steps lower its loss by a smaller share than this.
        patience: steps between two looks at that.
        lambda_: weight of the features against the residual.
        val_steps: steps of the search in validation.
        **gan: see `GAN`.
    """

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
        **gan,
    ) -> None:
        super().__init__(in_shape, n_ids, **gan)
        start = torch.randn(1, self.hparams.latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("start", start)

    def unexplained(self, crops: Tensor) -> Tensor:
        in_fit = self._trainer is not None and self.trainer.state.fn == "fit"
        return self.search(crops, self.hparams.val_steps if in_fit else self.hparams.steps)

    def distance(self, x: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """What a latent leaves unexplained of each crop, [M]."""
        rebuilt = self.generator(z)
        residual = (x - rebuilt).abs().flatten(1).mean(dim=1)
        if not self.hparams.lambda_:
            return residual
        other = (features - self.discriminator(rebuilt)[1]).abs().mean(dim=1)
        return (1 - self.hparams.lambda_) * residual + self.hparams.lambda_ * other

    def search(self, crops: Tensor, steps: int) -> Tensor:
        """Lowest distance found for each crop, [M, 1, F, N] -> [M]; each crop's search is its own."""
        training = self.training
        self.eval()
        with torch.inference_mode(False), torch.enable_grad():
            x = crops.detach().clone()
            for parameter in self.parameters():
                parameter.requires_grad_(False)
            try:
                found = self._descend(x, steps)
            finally:
                for parameter in self.parameters():
                    parameter.requires_grad_(True)
        self.train(training)
        return found

    def _descend(self, x: Tensor, steps: int) -> Tensor:
        features = self.discriminator(x)[1]
        z = self.start.clone().repeat(len(x), 1).requires_grad_()
        adam = torch.optim.Adam([z], lr=self.hparams.search_lr)
        best = torch.full((len(x),), torch.inf, device=x.device)
        before, going = best.clone(), torch.ones_like(best, dtype=torch.bool)
        for step in range(1, steps + 1):
            distance = self.distance(x, features, z)
            best = torch.where(going, torch.minimum(best, distance.detach()), best)
            adam.zero_grad()
            distance.sum().backward()
            adam.step()
            if step % self.hparams.patience == 0:
                going &= best < (1 - self.hparams.tolerance) * before
                before = best.clone()
                if not going.any():
                    break
        return best
