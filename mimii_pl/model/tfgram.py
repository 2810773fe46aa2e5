"""TFgram with one-stage supervised contrast: three spectra, mixed clips, a margin and a contrastive loss at once."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._averaged import Averaged
from mimii_pl.model._classifier import Classifier, Score, need_classes
from mimii_pl.model._detector import spec_of
from mimii_pl.model._heads import ArcFace, add_margin
from mimii_pl.model._mobile_face_net import MobileFaceNet
from mimii_pl.model._waveform_channels import TFgramChannel, TgramChannel
from mimii_pl.model.stgram import falling

BASE_TEMPERATURE = 0.07  # of the supervised contrastive loss (Khosla et al., NeurIPS 2020), which it is scaled to


class TFgram(Classifier):
    """Classifier of machine IDs on log-mel, Tgram and TFgram, by one-stage supervised contrastive learning (OS-SCL).

    Use it as `stgram`, of which it is a successor (Huang, Fang, He, arXiv 2509.13853): two spectra are learned from the
    waveform, a feature perturbation head follows MobileFaceNet, and clips are mixed in training. The loss is the cross
    entropy of Noisy-ArcMix, whose margin is on the first clip of each mixture (Choi and Choi, ICASSP 2024), and a
    contrastive loss for which mixtures with first clips of the same machine ID are alike. Validation and scores use a
    moving average of the weights.

    Args:
        in_shape: (1, F, N) of a spectrum in dB.
        n_classes: number of classes.
        frames: frames of the crop of each clip in training; scores are of whole clips. None: whole clips too.
        kernel: samples of a filter of the Tgram; features.n_fft gives it the frames of the spectrum.
        stride: samples from one frame of the Tgram to the next; as features.hop.
        dimensions: of the embedding.
        margin: in rad, added to the angle of the own class in training.
        scale: factor of the cosines.
        mix: concentration of the Beta distribution of the weight of a batch's mixtures; 0: clips are not mixed.
        contrast: weight of the contrastive loss.
        temperature: of the contrastive loss.
        decay: of the averaged weights from step to step, at most.
        score: see `Classifier.score`.
        lr: AdamW's learning rate at the beginning; it falls to a hundredth along a cosine.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        frames: int | None = 64,
        kernel: int = 1024,
        stride: int = 512,
        dimensions: int = 128,
        margin: float = 0.4,
        scale: float = 30.0,
        mix: float = 0.5,
        contrast: float = 1.0,
        temperature: float = 0.02,
        decay: float = 0.999,
        score: Score = "cross_entropy",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.need_one_channel(in_shape)
        need_classes(self.name, n_classes)
        self.crop = Crop(frames) if frames else None
        self.uses_machine_id = score == "cross_entropy"
        self.network = TFgramNetwork(in_shape[1], n_classes, kernel, stride, dimensions)
        self.averaged = Averaged(self.network, decay)

    def outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute embeddings [B, D] and their cosines with the classes [B, K], by averaged weights in evaluation."""
        return self.network(batch) if self.training else self.averaged.call(self.network, batch)

    shared = ("outputs",)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the embedding of each clip, of length 1, [B, D]."""
        return self.outputs(batch)[0]

    def posterior(self, batch: Batch) -> Tensor:
        """Compute the log posterior over the classes, [B, 1, K], in float64: it differs from 0 for sure clips too."""
        return (self.hparams.scale * self.outputs(batch)[1]).double().log_softmax(dim=1)[:, None]

    def loss(self, batch: Batch) -> Tensor:
        first = second = self.shares(batch, self.hparams.n_classes)
        weight = 1.0
        if self.training and self.hparams.mix > 0:
            weight, order = mixture(len(first), self.hparams.mix)
            batch, second = mixed(batch, weight, order), first[order]
        embedding, cosine = self.outputs(batch)
        margins = first * (add_margin(cosine, self.hparams.margin) - cosine)
        posterior = (self.hparams.scale * (cosine + margins)).log_softmax(dim=1)
        loss = -((weight * first + (1 - weight) * second) * posterior).sum(dim=1).mean()
        if not self.hparams.contrast:
            return loss
        return loss + self.hparams.contrast * contrast(embedding, first.argmax(dim=1), self.hparams.temperature)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.averaged.update(self.network)

    def configure_optimizers(self) -> Any:
        """Return AdamW, and the schedule of its learning rate."""
        adam = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, fused=True)
        return [adam], [falling(adam, self.trainer.max_epochs)]


class TFgramNetwork(nn.Module):
    """Three spectra, MobileFaceNet, the feature perturbation head and the centres of ArcFace."""

    def __init__(self, bins: int, n_classes: int, kernel: int, stride: int, dimensions: int) -> None:
        super().__init__()
        self.tgram, self.tfgram = TgramChannel(bins, kernel, stride), TFgramChannel(bins)
        self.encoder = MobileFaceNet(3, bins, dimensions)
        half = max(1, dimensions // 2)
        self.perturbation = nn.Sequential(
            nn.Linear(dimensions, half),
            nn.ReLU(),
            nn.BatchNorm1d(half),
            nn.Linear(half, dimensions),
            nn.ReLU(),
            nn.BatchNorm1d(dimensions),
        )
        self.head = ArcFace(dimensions, n_classes)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute embeddings of length 1 [B, D], and their cosines with the centres of the classes [B, K]."""
        spectra = torch.cat([spec_of(batch), self.tgram(batch), self.tfgram(batch)], dim=1)
        embedding = F.normalize(self.perturbation(self.encoder(spectra)).float())
        return embedding, self.head.cosines(embedding)


def mixture(clips: int, concentration: float) -> tuple[float, Tensor]:
    """Draw the weight of the first clips of a batch's mixtures (from a Beta distribution), and rows of the second."""
    weight = torch.distributions.Beta(concentration, concentration).sample().item()
    return weight, torch.randperm(clips)


def mixed(batch: Batch, weight: float, order: Tensor) -> Batch:
    """Mix the waveforms and representations of a batch with those of its rows `order`."""
    wave, spec = batch.wave, spec_of(batch)
    return batch._replace(
        wave=weight * wave + (1 - weight) * wave[order], spec=weight * spec + (1 - weight) * spec[order]
    )


def contrast(embedding: Tensor, number: Tensor, temperature: float) -> Tensor:
    """Compute the supervised contrastive loss of embeddings of length 1 (Khosla et al., NeurIPS 2020), a scalar.

    Args:
        embedding: [B, D].
        number: classes [B]; a clip without another of its class counts 0.
        temperature: of the softmax over all other clips; the loss is multiplied by it and divided by .07.
    """
    own = torch.eye(len(number), dtype=torch.bool, device=number.device)
    similarity = (embedding @ embedding.T / temperature).masked_fill(own, -torch.inf)
    alike = (number[:, None] == number) & ~own
    likelihood = similarity.log_softmax(dim=1).masked_fill(~alike, 0)
    return -(temperature / BASE_TEMPERATURE) * (likelihood.sum(dim=1) / alike.sum(dim=1).clamp(min=1)).mean()
