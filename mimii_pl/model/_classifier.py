"""What every classifier is: windows are told apart, and a clip is judged by the mean over its windows."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector

Score = Literal["cross_entropy", "entropy", "max_probability"]


class Classifier(Detector):
    """Base of all that tell classes apart: machine IDs, conditions, or what else `target` names. K classes.

    A subclass has an option `score`, and implements `posterior`. Where the classes are machine IDs it is a detector
    too: what does not sound like its own machine is anomalous (as in Giri et al. and Inoue et al., DCASE 2020).
    """

    def posterior(self, batch: Batch) -> Tensor:
        """Logarithm of each window's posterior over the classes, [B, W, K]."""
        raise NotImplementedError

    def classify(self, batch: Batch) -> Tensor:
        """Probability of each class, the mean over the clip's windows, [B, K]."""
        return self.posterior(batch).exp().mean(dim=1)

    def score(self, batch: Batch) -> Tensor:
        """Mean over windows of what the option `score` says; for machine IDs.

        `cross_entropy` of the clip's own ID (of the most likely one where it was not heard in training), `entropy` of
        the posterior, or `max_probability`: 1 - its maximum. The last two do not use the ID.
        """
        posterior = self.posterior(batch)
        if self.hparams.score == "entropy":
            return -(posterior.exp() * posterior).sum(dim=2).mean(dim=1)
        best = posterior.max(dim=2).values
        if self.hparams.score == "max_probability":
            return (1 - best.exp()).mean(dim=1)
        numbers = batch.machine_id.clamp(min=0)[:, None, None].expand(-1, posterior.shape[1], 1)
        own = posterior.gather(2, numbers)[..., 0]
        return -torch.where(batch.machine_id[:, None] >= 0, own, best).mean(dim=1)

    def shares(self, batch: Batch, n_classes: int) -> Tensor:
        """Share of each class in what is heard, [B, K]; of machine IDs where the batch names no other classes."""
        return F.one_hot(batch.machine_id, n_classes).float() if batch.target is None else batch.target


class NetworkClassifier(Classifier):
    """Base of the networks: an encoder and a linear layer, trained by the cross entropy of windows.

    A subclass passes its arguments on, then sets `self.encoder`, which maps windows [M, ...] to embeddings [M, D], and
    `self.head`, which maps these to logits [M, K]; it implements `windows`.

    Args:
        in_shape: (C, F, N) of a clip's representation.
        n_classes: classes, two at least.
        score: as an anomaly score, see `Classifier.score`.
        balance: weigh each class by the inverse of its share in the training clips, so that the rare ones count as much
            as the frequent ones; probabilities are then those of equally frequent classes.
        lr: Adam's learning rate.
    """

    encoder: nn.Module
    head: nn.Module

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        score: Score = "cross_entropy",
        balance: bool = True,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of the subclass too
        need_classes(self.name, n_classes)
        self.uses_machine_id = score == "cross_entropy"
        self.register_buffer("weight", torch.ones(n_classes))  # of each class in the loss

    def windows(self, batch: Batch) -> Tensor:
        """What is told apart, [B, W, ...]."""
        raise NotImplementedError

    def embed(self, batch: Batch) -> Tensor:
        """What the last layer sees of each window, [B, W, D]."""
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])

    def posterior(self, batch: Batch) -> Tensor:
        return self.head(self.embed(batch)).float().log_softmax(dim=2)

    def loss(self, batch: Batch) -> Tensor:
        return self.cross_entropy(self.head(self.embed(batch)), batch)

    def cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        """Weighted cross entropy of windows, a scalar; logits [B, W, K]."""
        target = self.shares(batch, logits.shape[2])[:, None].expand_as(logits)
        return F.cross_entropy(logits.float().flatten(0, 1), target.flatten(0, 1), weight=self.weight)

    def on_fit_start(self) -> None:
        if self.hparams.balance:
            self.weight.copy_(self.trainer.datamodule.class_weights())


def need_classes(name: str, n_classes: int) -> None:
    """Raise InputError where there is nothing to tell apart."""
    if n_classes < 2:
        raise InputError(
            f"model={name} tells machine IDs apart and this training set has one ID only: there is nothing to learn. "
            "Choose a detector that needs no IDs (model=dense_ae), machine=all, or, with labelled clips of several "
            "classes, task=classification"
        )
