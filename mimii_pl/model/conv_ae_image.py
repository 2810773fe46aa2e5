"""Convolutional auto-encoder of whole clips, plain or variational, whose latent feeds a novelty detector."""

from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._conv import ConvDecoder, ConvEncoder, require_small
from mimii_pl.model._detector import Detector, Integers, spec_of
from mimii_pl.model._variational import divergence, sample


class ConvAEImage(Detector):
    """Convolutional auto-encoder of a clip's whole log-mel spectrum as one image, made for a back end on its latent.

    Use it with a novelty detector such as `backend=lof` or `backend=one_class_svm`: its flattened latent is the
    embedding. Its own score is the mean squared error of the image. Machine IDs are not used.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        channels: channels of each level's convolution.
        kernels: size of each level's square kernel; pooling by 2 follows each.
        latent: None: the last level, flattened. A number: a variational auto-encoder with that many latent dimensions,
            whose embedding is the posterior's mean.
        beta: weight of the Kullback-Leibler divergence relative to the squared error summed over the image;
            variational form only.
        lr: Adam's learning rate.
    """

    trains_in_bfloat16 = True
    one_thread_per_batch = True

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        channels: Integers = (16, 32, 64, 64),
        kernels: Integers = (8, 6, 4, 2),
        latent: int | None = None,
        beta: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        if len(channels) != len(kernels):
            raise InputError(
                f"model.channels={channels} and model.kernels={kernels} differ in length: give one kernel per level"
            )
        self.save_hyperparameters()
        require_small(f"model.kernels={list(kernels)}", kernels, in_shape[1:])
        stack = [1, *channels], list(kernels)
        self.encoder, self.decoder = ConvEncoder(*stack), ConvDecoder(*stack)
        *self.sizes, size = self.encoder.sizes(in_shape[1:])
        flat = channels[-1] * size[0] * size[1]
        if latent is not None:
            self.mean, self.log_variance = (nn.Linear(flat, latent) for _ in range(2))
            self.back = nn.Sequential(nn.Linear(latent, flat), nn.Unflatten(1, (channels[-1], *size)))

    def loss(self, batch: Batch) -> Tensor:
        hidden = self.encoder(spec_of(batch))[0]
        if self.hparams.latent is None:
            return self.errors(batch, hidden).mean()
        mean, log_variance = self.mean(hidden.flatten(1)), self.log_variance(hidden.flatten(1))
        errors = self.errors(batch, self.back(sample(mean, log_variance) if self.training else mean))
        return (errors + self.hparams.beta * divergence(mean, log_variance) / spec_of(batch)[0].numel()).mean()

    def score(self, batch: Batch) -> Tensor:
        return self.error_map(batch).mean(dim=(1, 2))

    def error_map(self, batch: Batch) -> Tensor:
        hidden = self.encoder(spec_of(batch))[0]
        return self.squared_errors(
            batch, hidden if self.hparams.latent is None else self.back(self.mean(hidden.flatten(1)))
        )

    def embed(self, batch: Batch) -> Tensor:
        """Compute the flattened latent, [B, D]."""
        hidden = self.encoder(spec_of(batch))[0].flatten(1)
        return hidden if self.hparams.latent is None else self.mean(hidden)

    def errors(self, batch: Batch, latent: Tensor) -> Tensor:
        """Compute the mean squared error of images decoded from their last level, [B, C, F', N'] -> [B]."""
        return self.squared_errors(batch, latent).mean(dim=(1, 2))

    def squared_errors(self, batch: Batch, latent: Tensor) -> Tensor:
        """Compute the squared errors of images decoded from their last level, [B, C, F', N'] -> [B, F, N]."""
        return (self.decoder(latent, self.sizes) - spec_of(batch))[:, 0].square()
