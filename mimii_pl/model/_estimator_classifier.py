"""Classifiers of scikit-learn on windows of frames, kept in checkpoints by skops: no pickle, known types only."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.skops_io import dump_estimator, load_estimator
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._classifier import Classifier, Score, need_classes
from mimii_pl.model._training_free import TrainingFree
from mimii_pl.model._windows import FrameWindows

MIN_PROBABILITY = 1e-4  # so that its logarithm is finite


class EstimatorClassifier(TrainingFree, Classifier):
    """Base of such classifiers; a subclass makes the estimator (`make`), with `predict_proba`.

    Windows are as for the networks; `limit` of them are fitted on, equally many per clip. One pass over the clips is
    all there is to train.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        score: as an anomaly score, see `Classifier.score`.
        balance: weigh each class by the inverse of its share, so that the rare ones count as much.
        frames: frames of a window.
        limit: windows it is fitted on at most.
        seed: of what is random.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        score: Score = "cross_entropy",
        balance: bool = True,
        frames: int = 5,
        limit: int = 20_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of the subclass too
        need_classes(self.name, n_classes)
        self.need_one_channel(in_shape)
        self.uses_machine_id = score == "cross_entropy"
        self.cut = FrameWindows(in_shape, frames, 1, None)
        self.register_buffer("stored", torch.zeros(0, dtype=torch.uint8))  # the estimator as skops writes it
        self.heard: list[tuple[np.ndarray, np.ndarray]] = []
        self._loaded: Any = None

    def make(self, clips: np.ndarray) -> Any:
        """An estimator, not fitted yet, for windows [M] of these clips' numbers."""
        raise NotImplementedError

    def observe(self, batch: Batch) -> None:
        label = self.shares(batch, self.hparams.n_classes).argmax(dim=1)
        self.heard.append((self.cut(batch).cpu().numpy(), label.cpu().numpy()))

    def finish_fit(self) -> None:
        windows, label = (np.concatenate(parts) for parts in zip(*self.heard, strict=True))  # [N, W, D], [N]
        self.heard.clear()
        each = max(1, min(windows.shape[1], self.hparams.limit // len(windows)))
        chosen = np.linspace(0, windows.shape[1] - 1, each).round().astype(int)
        clips = np.repeat(np.arange(len(windows)), each)
        x = windows[:, chosen].reshape(len(clips), -1)
        fitted = self.make(clips).fit(x, label[clips])
        self.stored = torch.from_numpy(dump_estimator(fitted).copy())
        self._loaded = None

    def posterior(self, batch: Batch) -> Tensor:
        windows = self.cut(batch)
        found = np.full((*windows.shape[:2], self.hparams.n_classes), 1 / self.hparams.n_classes)
        if len(self.stored):
            estimator = self._estimator()
            shares = estimator.predict_proba(windows.flatten(0, 1).cpu().numpy())
            found[:] = 0
            found[..., estimator.classes_] = shares.reshape(*windows.shape[:2], -1)
        found = found.clip(MIN_PROBABILITY)
        found /= found.sum(axis=2, keepdims=True)
        return torch.from_numpy(np.log(found)).float().to(windows.device)

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the windows: what the choice of a checkpoint needs, though there is one only."""
        return -(self.shares(batch, self.hparams.n_classes)[:, None] * self.posterior(batch)).sum(dim=2).mean()

    def _estimator(self) -> Any:
        if self._loaded is None:
            self._loaded = load_estimator(self.stored.cpu().numpy(), "classifier")
        return self._loaded

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Its size is that of what was fitted."""
        self.stored = torch.zeros_like(state_dict.get(f"{prefix}stored", self.stored))
        self._loaded = None
        super()._load_from_state_dict(state_dict, prefix, *args)
