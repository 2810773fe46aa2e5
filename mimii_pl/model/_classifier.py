"""Base classes of the classifiers: windows are classified, and a clip gets the mean over its windows."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import Detector

Score = Literal["cross_entropy", "entropy", "max_probability"]


class Classifier(Detector):
    """Base class of all classifiers of machine IDs, conditions, or whatever else `target` names. K classes.

    A subclass has an option `score`, and implements `posterior`. If the classes are machine IDs, it is an anomaly
    detector too: a clip that does not sound like its own machine is anomalous (Giri et al., Inoue et al., DCASE 2020).
    """

    def posterior(self, batch: Batch) -> Tensor:
        """Compute the log posterior of each window over the classes, [B, W, K]."""
        raise NotImplementedError

    def classify(self, batch: Batch) -> Tensor:
        """Compute the probability of each class, averaged over the clip's windows, [B, K]."""
        return self.posterior(batch).exp().mean(dim=1)

    def score(self, batch: Batch) -> Tensor:
        """Average the option `score` over a clip's windows, [B]; the classes are machine IDs.

        `cross_entropy` of the clip's own ID (of the most likely one if it was not seen in training), `entropy` of the
        posterior, or `max_probability`: 1 - its maximum. The last two do not use the ID.
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
        """Return the target distribution of each clip, [B, K]: one-hot machine IDs if the batch has no target."""
        return F.one_hot(batch.machine_id, n_classes).float() if batch.target is None else batch.target


class NetworkClassifier(Classifier):
    """Base class of the neural classifiers: an encoder and a linear layer, trained with the cross entropy of windows.

    A subclass passes its arguments on, then sets `self.encoder`, which maps windows [M, ...] to embeddings [M, D], and
    `self.head`, which maps embeddings to logits [M, K]; it implements `windows`.

    Args:
        in_shape: (C, F, N) of a clip's representation.
        n_classes: number of classes, at least two.
        score: used as the anomaly score, see `Classifier.score`.
        balance: weight each class in the loss by the inverse of its share of the training clips, so that rare classes
            count as much as frequent ones; probabilities then assume equally frequent classes.
        lr: Adam's learning rate.
    """

    one_thread_per_batch = True
    encoder: Callable[[Tensor], Tensor]
    head: nn.Module
    weight: Tensor

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
        """Cut the windows to classify, [B, W, ...]."""
        raise NotImplementedError

    def embed(self, batch: Batch) -> Tensor:
        """Compute the input of the last layer for each window, [B, W, D]."""
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])

    def posterior(self, batch: Batch) -> Tensor:
        return self.head(self.embed(batch)).float().log_softmax(dim=2)

    def loss(self, batch: Batch) -> Tensor:
        return self.cross_entropy(self.head(self.embed(batch)), batch)

    def cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the weighted cross entropy of windows, a scalar; logits [B, W, K]."""
        target = self.shares(batch, logits.shape[2])[:, None].expand_as(logits)
        return F.cross_entropy(logits.float().flatten(0, 1), target.flatten(0, 1), weight=self.weight)

    def on_fit_start(self) -> None:
        if self.hparams.balance:
            data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning, not declared
            self.weight.copy_(data.class_weights())


def need_classes(name: str, n_classes: int) -> None:
    """Raise InputError if there are fewer than two classes."""
    if n_classes < 2:
        raise InputError(
            f"model={name} learns to distinguish machine IDs and this training set has one ID only: there is nothing "
            "to learn. Choose a detector that needs no IDs (model=dense_ae), machine=all, or, with labelled clips of "
            "several classes, task=classification"
        )
