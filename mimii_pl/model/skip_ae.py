"""Convolutional auto-encoder of crops of the spectrum, with or without skip connections."""

from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._conv import ConvDecoder, ConvEncoder, require_small
from mimii_pl.model._detector import Detector, Integers, overlap_mean, sliding_windows, spec_of


class SkipAE(Detector):
    """Convolutional auto-encoder of random log-mel crops, with or without skip connections (EURECOM report, 2023).

    Four convolutions with dropout and ReLU, a dense bottleneck, and the mirror image. Keep the bottleneck: convolutions
    alone do not know their position in frequency, and reconstruct a fault as well as anything else (measured on the
    synthetic fan: AUC below chance without it). With `skip`, each level of the encoder is concatenated to its mirror
    level, which improves the reconstruction of details, including faulty ones.

    Score: mean squared error over crops that cover the clip.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        skip: concatenate each level of the encoder to its mirror level.
        channels: channels of each level's convolution; pooling by 2 follows each.
        kernel: size of the square kernels.
        bottleneck: units of the dense middle layer; None: no such layer.
        dropout: share of channels dropped in training.
        frames: frames of a crop.
        lr: Adam's learning rate.
    """

    one_thread_per_batch = True

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        skip: bool = False,
        channels: Integers = (16, 32, 64, 64),
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
        require_small(f"model.kernel={kernel}", [kernel], in_shape[1:])
        stack = [1, *channels], [kernel] * len(channels), dropout
        self.encoder, self.decoder = ConvEncoder(*stack), ConvDecoder(*stack, skip=skip)
        *self.sizes, size = self.encoder.sizes((in_shape[1], min(frames, in_shape[2])))
        flat = channels[-1] * size[0] * size[1]
        self.squeeze: nn.Module = nn.Identity()
        self.expand: nn.Module = nn.Identity()
        if bottleneck is not None:
            self.squeeze = nn.Sequential(nn.Flatten(), nn.Linear(flat, bottleneck))
            self.expand = nn.Sequential(nn.Linear(bottleneck, flat), nn.ReLU(), nn.Unflatten(1, (channels[-1], *size)))

    def crops(self, batch: Batch) -> Tensor:
        """Cut crops that cover each clip, [B, W, 1, F, frames]."""
        return sliding_windows(spec_of(batch), self.hparams.frames, self.hparams.frames)

    def squared_errors(self, spec: Tensor) -> Tensor:
        """Compute the squared reconstruction errors of crops, [M, 1, F, N] -> [M, 1, F, N]."""
        latent, before = self.encoder(spec)
        reconstruction = self.decoder(self.expand(self.squeeze(latent)), self.sizes, before)
        return (reconstruction - spec).square()

    def errors(self, spec: Tensor) -> Tensor:
        """Compute the mean squared error of each crop, [M, 1, F, N] -> [M]."""
        return self.squared_errors(spec).mean(dim=(1, 2, 3))

    def loss(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        return self.errors(crops.flatten(0, 1)).mean()

    def score(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        return self.errors(crops.flatten(0, 1)).view(crops.shape[:2]).mean(dim=1)

    def error_map(self, batch: Batch) -> Tensor:
        crops = self.crops(batch)
        squared = self.squared_errors(crops.flatten(0, 1)).view(crops.shape)[:, :, 0]
        return overlap_mean(squared, spec_of(batch).shape[3], self.hparams.frames)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the bottleneck of each crop (the last level if there is none), [B, W, D]."""
        crops = self.crops(batch)
        return self.squeeze(self.encoder(crops.flatten(0, 1))[0]).flatten(1).view(*crops.shape[:2], -1)
