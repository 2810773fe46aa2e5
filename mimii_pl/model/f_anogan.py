"""Fast AnoGAN: an encoder finds the latent in one step."""

import torch
from torch import Tensor

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import overlap_mean
from mimii_pl.model._gan import GAN, Discriminator


class FAnoGAN(GAN):
    """f-AnoGAN (Schlegl et al., Medical Image Analysis 2019): AnoGAN with an encoder in place of the search.

    The encoder learns, beside the generator and the discriminator, to send an image to the latent that rebuilds it:
    squared error of the image plus `kappa` times that of the discriminator's features. Score: the same two errors.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        kappa: weight of the features against the image.
        **gan: see `GAN`.
    """

    def __init__(self, in_shape: tuple[int, int, int], n_ids: int, *, kappa: float = 1.0, **gan) -> None:
        super().__init__(in_shape, n_ids, **gan)
        self.encoder = Discriminator(self.hparams.width, self.image, self.hparams.latent)

    def rebuilt(self, crops: Tensor) -> Tensor:
        """Crops as the generator makes them from their latents, [M, 1, F, N]."""
        return self.generator(self.encoder(crops)[0])

    def unexplained(self, crops: Tensor) -> Tensor:
        rebuilt = self.rebuilt(crops)
        image = (crops - rebuilt).square().flatten(1).mean(dim=1)
        features = (self.discriminator(crops)[1] - self.discriminator(rebuilt)[1]).square().mean(dim=1)
        return image + self.hparams.kappa * features

    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) + self.unexplained(self.crops(batch).flatten(0, 1)).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        error = self.step(self.optimizers()[2], self.unexplained(self.crops(batch).flatten(0, 1)).mean())
        self.log("train/encoder", error, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.wave))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [*super().configure_optimizers(), self.adam(self.encoder)]

    def error_map(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        flat = crops.flatten(0, 1)
        squared = (flat - self.rebuilt(flat)).square().view(crops.shape)[:, :, 0]
        return overlap_mean(squared, batch.spec.shape[3], self.hparams.frames)

    def embed(self, batch: Batch) -> Tensor:
        """Latent of each crop, [B, W, D]."""
        crops = self.crops(batch)
        return self.encoder(crops.flatten(0, 1))[0].view(*crops.shape[:2], -1)
