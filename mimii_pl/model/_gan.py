"""Base class of the generative adversarial detectors: two networks, their losses, and a check for mode collapse."""

import logging
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import Detector, sliding_windows, spec_of

log = logging.getLogger(__name__)
COLLAPSED = 0.1  # spread of generated images as a share of that of real ones


class GAN(Detector):
    """Base class of the adversarial detectors: a DCGAN that learns to generate normal crops of the spectrum.

    A subclass implements `crop_scores`; its mean over held-out normal clips selects the checkpoint, since adversarial
    losses do not tell how good a generator is. The losses of both networks are logged, and a warning is given if the
    generated images hardly differ from one another.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        latent: dimensions of z, standard normal.
        width: channels of the largest feature maps; doubled where height and width are halved.
        frames: frames of a crop.
        lr: Adam's learning rate, of every network.
        beta1: Adam's decay rate of the first moment.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        latent: int = 100,
        width: int = 16,
        frames: int = 64,
        lr: float = 5e-4,
        beta1: float = 0.5,
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        self.save_hyperparameters()  # those of the subclass too
        self.automatic_optimization = False
        self.crop = Crop(frames)
        self.image = (in_shape[1], min(frames, in_shape[2]))  # height and width
        self.generator, self.discriminator = Generator(latent, width, self.image), Discriminator(width, self.image)

    def crop_scores(self, crops: Tensor) -> Tensor:
        """Compute the anomaly score of each crop, [M, 1, F, N] -> [M]."""
        raise NotImplementedError

    def score(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        return self.crop_scores(crops.flatten(0, 1)).view(crops.shape[:2]).mean(dim=1)

    def crops(self, batch: Batch) -> Tensor:
        """Cut crops that cover each clip, [B, W, 1, F, frames]."""
        return sliding_windows(spec_of(batch), self.hparams.frames, self.hparams.frames)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the loss of the discriminator on real and generated images, each [M, 1, F, N]."""
        logits = self.discriminator(torch.cat([real, fake.detach()]))[0]
        truth = torch.cat([torch.ones(len(real), 1), torch.zeros(len(fake), 1)]).to(logits)
        return F.binary_cross_entropy_with_logits(logits, truth)

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Compute the loss of the generator on its images, [M, 1, F, N]."""
        logits = self.discriminator(fake)[0]
        return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def generate(self, count: int) -> Tensor:
        """Generate images from random latents, [count, 1, F, N]."""
        return self.generator(torch.randn(count, self.hparams.latent, device=self.device))

    def loss(self, batch: Batch) -> Tensor:
        """Add the losses of both networks; training steps them one after the other."""
        real = self.crops(batch).flatten(0, 1)
        fake = self.generate(len(real))
        return self.discriminator_loss(real, fake) + self.generator_loss(fake)

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError(f"model={self.name} trains two networks in turn: use one process (trainer=default)")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        real = self.crops(batch).flatten(0, 1)
        for_generator, for_discriminator = self.optimizer_list()[:2]
        fake = self.generate(len(real))
        losses = {"discriminator": self.step(for_discriminator, self.discriminator_loss(real, fake))}
        losses["generator"] = self.step(for_generator, self.generator_loss(fake))
        losses["spread"] = fake.detach().std(dim=0).mean() / real.std(dim=0).mean().clamp(min=1e-6)
        named = {f"train/{name}": value for name, value in losses.items()}
        self.log_dict(named, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.wave))

    def optimizer_list(self) -> list[LightningOptimizer]:
        """Return the optimizers in the order of `configure_optimizers`."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def step(self, optimizer: LightningOptimizer, loss: Tensor) -> Tensor:
        """Step one network and return its loss, detached."""
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)
        return loss.detach()

    def on_train_epoch_end(self) -> None:
        spread = self.trainer.callback_metrics.get("train/spread")
        if spread is not None and spread < COLLAPSED and self.current_epoch > 0:
            log.warning(
                "epoch %d: the generator has collapsed: the spread of its images is %.3f times that of real ones, so "
                "scores measure the distance from a single image; try another seed or a lower model.lr",
                self.current_epoch,
                spread,
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.crop_scores(self.crops(batch).flatten(0, 1)).mean()
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch.wave))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.adam(part) for part in (self.generator, self.discriminator)]

    def adam(self, part: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of one network."""
        return torch.optim.Adam(part.parameters(), lr=self.hparams.lr, betas=(self.hparams.beta1, 0.999))


class Generator(nn.Module):
    """Network from latents [M, D] to images [M, 1, F, N]: a dense layer, then transposed convolutions of stride 2."""

    def __init__(self, latent: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, small = size, [math.ceil(edge / 8) for edge in size]
        self.dense = nn.Sequential(
            nn.Linear(latent, 4 * width * small[0] * small[1]),
            nn.Unflatten(1, (4 * width, *small)),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        for channels in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False)
            layers += [up, nn.BatchNorm2d(channels // 2), nn.ReLU()]
        self.up = nn.Sequential(*layers, nn.ConvTranspose2d(width, 1, 4, 2, 1))

    def forward(self, z: Tensor) -> Tensor:
        return self.up(self.dense(z))[..., : self.size[0], : self.size[1]]


class Discriminator(nn.Module):
    """Network from images [M, 1, F, N] to the logit of a real one [M, 1] (or `outputs` values) and features [M, D]."""

    def __init__(self, width: int, size: tuple[int, int], outputs: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((1, width, 2 * width, 4 * width)):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.down = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.down(torch.zeros(1, 1, *size)).shape[1]
        self.out = nn.Linear(flat, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.down(x)
        return self.out(features), features
