"""STgram-MFN: a spectrum and a channel learned from the waveform, told apart by machine ID."""

from typing import Any

import torch
from torch import Tensor

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import Score, need_classes
from mimii_pl.model._detector import spec_of
from mimii_pl.model._heads import HeadClassifier, HeadName
from mimii_pl.model._mobile_face_net import MobileFaceNet
from mimii_pl.model._waveform_channels import TgramChannel


class STgram(HeadClassifier):
    """Classifier of machine IDs on the log-mel spectrum and a learned one, the Tgram (Liu et al., ICASSP 2022).

    Use it over as many machine types and IDs as there are (`machine=all`). Both spectra are channels of MobileFaceNet,
    and an ArcFace head separates the IDs; the score is the cross entropy of the clip's own. The original normalises
    over clips of 313 frames; here clips may be of any length (see `TgramChannel` and `MobileFaceNet`), and training
    takes crops.

    Args:
        in_shape: (1, F, N) of a spectrum in dB.
        n_classes: number of classes.
        frames: frames of the crop of each clip in training; scores are of whole clips. None: whole clips too.
        kernel: samples of a filter of the Tgram; features.n_fft gives it the frames of the spectrum.
        stride: samples from one frame of the Tgram to the next; as features.hop.
        dimensions: of the embedding.
        score: see `Classifier.score`.
        lr: Adam's learning rate at the beginning; it falls to a hundredth along a cosine.
        **head: see `HeadClassifier`.
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
        score: Score = "cross_entropy",
        head: HeadName = "arcface",
        margin: float = 0.7,
        lr: float = 1e-3,
        **others: Any,
    ) -> None:
        super().__init__(head=head, margin=margin, **others)
        self.need_one_channel(in_shape)
        need_classes(self.name, n_classes)
        self.crop = Crop(frames) if frames else None
        self.uses_machine_id = score == "cross_entropy"
        self.tgram = TgramChannel(in_shape[1], kernel, stride)
        self.encoder = MobileFaceNet(2, in_shape[1], dimensions)
        self.head = self.new_head(dimensions, n_classes)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the embedding of each clip, [B, D]."""
        return self.encoder(torch.cat([spec_of(batch), self.tgram(batch)], dim=1))

    def posterior(self, batch: Batch) -> Tensor:
        """Compute the log posterior over the classes, [B, 1, K], in float64: it differs from 0 for sure clips too."""
        return self.head(self.embed(batch)).double().log_softmax(dim=1)[:, None]

    def loss(self, batch: Batch) -> Tensor:
        return self.head.loss(self.embed(batch), self.shares(batch, self.hparams.n_classes))

    def configure_optimizers(self) -> Any:
        """Return Adam, and the schedule of its learning rate."""
        adam = torch.optim.Adam(self.parameters(), lr=self.hparams.lr, fused=True)
        return [adam], [falling(adam, self.trainer.max_epochs)]


def falling(optimizer: torch.optim.Optimizer, epochs: int | None) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule by which the learning rate falls to a hundredth along a cosine, over the epochs of a run."""
    lowest = optimizer.param_groups[0]["lr"] / 100
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs or 1), eta_min=lowest)
