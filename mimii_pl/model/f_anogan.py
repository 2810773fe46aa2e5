"""Fast AnoGAN: an encoder finds the latent in one step."""

from typing import Any

import torch
from torch import Tensor

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import overlap_mean, spec_of
from mimii_pl.model._gan import GAN, Discriminator


class FAnoGAN(GAN):
    """f-AnoGAN: AnoGAN with an encoder in place of the search (Schlegl et al., Medical Image Analysis 2019).

    The faster of the two adversarial detectors; both need long training. Alongside the generator and the discriminator,
    the encoder learns to map a log-mel crop to the latent that reproduces it: squared error of the image plus `kappa`
    times that of the discriminator's features. The score is the same sum.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        kappa: weight of the features relative to the image.
        **gan: see `GAN`.
    """

    one_thread_per_batch = True

    def __init__(self, in_shape: tuple[int, int, int], n_ids: int, *, kappa: float = 1.0, **gan: Any) -> None:
        super().__init__(in_shape, n_ids, **gan)
        self.encoder = Discriminator(self.hparams.width, self.image, self.hparams.latent)

    def reconstruct(self, crops: Tensor) -> Tensor:
        """Generate crops from their encoded latents, [M, 1, F, N] -> [M, 1, F, N]."""
        return self.generator(self.encoder(crops)[0])

    def crop_scores(self, crops: Tensor) -> Tensor:
        reconstruction = self.reconstruct(crops)
        image = (crops - reconstruction).square().flatten(1).mean(dim=1)
        features = (self.discriminator(crops)[1] - self.discriminator(reconstruction)[1]).square().mean(dim=1)
        return image + self.hparams.kappa * features

    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) + self.crop_scores(self.crops(batch).flatten(0, 1)).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        error = self.step(self.optimizer_list()[2], self.crop_scores(self.crops(batch).flatten(0, 1)).mean())
        self.log("train/encoder", error, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.wave))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [*super().configure_optimizers(), self.adam(self.encoder)]

    def error_map(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        flat = crops.flatten(0, 1)
        squared = (flat - self.reconstruct(flat)).square().view(crops.shape)[:, :, 0]
        return overlap_mean(squared, spec_of(batch).shape[3], self.hparams.frames)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the latent of each crop, [B, W, D]."""
        crops = self.crops(batch)
        return self.encoder(crops.flatten(0, 1))[0].view(*crops.shape[:2], -1)
