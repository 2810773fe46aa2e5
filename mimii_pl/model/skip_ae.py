"""Convolutional auto-encoder of crops of the spectrum, with or without skip connections."""

from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._conv import ConvDecoder, ConvEncoder
from mimii_pl.model._detector import Detector, overlap_mean, sliding_windows


class SkipAE(Detector):
    """Four convolutions with dropout and ReLU, and their mirror, on a random crop of the log-mel spectrum per step.

    A dense bottleneck stands between them: convolutions alone do not know where in frequency they are, and rebuild a
    fault as well as anything (measured on the synthetic fan: AUC below chance without it).

    A clip is scored as the mean squared error over crops that cover it. With `skip` each level of the encoder is
    stacked on its mirror: details are rebuilt better, faulty ones too.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        skip: stack each level on its mirror.
        channels: of each level's convolution; pooling by 2 follows each.
        kernel: size of the square kernels.
        bottleneck: units of the dense middle layer; None: none.
        dropout: share of channels left out in training.
        frames: frames of a crop.
        lr: Adam's learning rate.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        skip: bool = False,
        channels: list[int] = (16, 32, 64, 64),
        kernel: int = 3,
        bottleneck: int | None = 32,
        dropout: float = 0.1,
        frames: int = 64,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        self.save_hyperparameters()
        self.crop = Crop(frames)
        stack = [1, *channels], [kernel] * len(channels), dropout
        self.encoder, self.decoder = ConvEncoder(*stack), ConvDecoder(*stack, skip=skip)
        *self.sizes, size = self.encoder.sizes((in_shape[1], min(frames, in_shape[2])))
        flat = channels[-1] * size[0] * size[1]
        self.squeeze, self.expand = nn.Identity(), nn.Identity()
        if bottleneck is not None:
            self.squeeze = nn.Sequential(nn.Flatten(), nn.Linear(flat, bottleneck))
            self.expand = nn.Sequential(nn.Linear(bottleneck, flat), nn.ReLU(), nn.Unflatten(1, (channels[-1], *size)))

    def crops(self, batch: Batch) -> Tensor:
        """Crops that cover each clip, [B, W, 1, F, frames]."""
        return sliding_windows(batch.spec, self.hparams.frames, self.hparams.frames)

    def squared(self, spec: Tensor) -> Tensor:
        """Squared error of crops, [M, 1, F, N] -> [M, 1, F, N]."""
        latent, before = self.encoder(spec)
        rebuilt = self.decoder(self.expand(self.squeeze(latent)), self.sizes, before)
        return (rebuilt - spec).square()

    def errors(self, spec: Tensor) -> Tensor:
        """Mean squared error of each crop, [M, 1, F, N] -> [M]."""
        return self.squared(spec).mean(dim=(1, 2, 3))

    def loss(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        return self.errors(crops.flatten(0, 1)).mean()

    def score(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        return self.errors(crops.flatten(0, 1)).view(crops.shape[:2]).mean(dim=1)

    def error_map(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        squared = self.squared(crops.flatten(0, 1)).view(crops.shape)[:, :, 0]
        return overlap_mean(squared, batch.spec.shape[3], self.hparams.frames)

    def embed(self, batch: Batch) -> Tensor:
        """The bottleneck of each crop (without one: the last level), [B, W, D]."""
        crops = self.crops(batch)
        return self.squeeze(self.encoder(crops.flatten(0, 1))[0]).flatten(1).view(*crops.shape[:2], -1)
