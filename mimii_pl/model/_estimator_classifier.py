"""Base class of scikit-learn classifiers of windows of frames, stored without pickle, known types only."""

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
    """Base class of the scikit-learn classifiers; a subclass creates the estimator (`make`), with `predict_proba`.

    It sees the same windows as the networks. It is fitted on up to `limit` of them, the same number from each clip,
    after one pass over the training clips.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        score: used as the anomaly score, see `Classifier.score`.
        balance: weight each class by the inverse of its share, so that rare classes count as much as frequent ones.
        frames: frames of a window.
        limit: maximum number of windows it is fitted on.
        seed: random seed of the fit.
    """

    stored: Tensor

    exportable = False
    training_free = False  # an estimator is fitted in one pass

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
        self.register_buffer("stored", torch.zeros(0, dtype=torch.uint8))  # the estimator as bytes in skops format
        self.observed: list[tuple[np.ndarray, np.ndarray]] = []  # windows [B, W, D] and classes [B] of each batch
        self._loaded: Any = None

    def make(self, clips: np.ndarray) -> Any:
        """Create an unfitted estimator for windows that belong to these clips, [M]."""
        raise NotImplementedError

    def observe(self, batch: Batch) -> None:
        label = self.shares(batch, self.hparams.n_classes).argmax(dim=1)
        self.observed.append((self.cut(batch).cpu().numpy(), label.cpu().numpy()))

    def finish_fit(self) -> None:
        windows, label = (np.concatenate(parts) for parts in zip(*self.observed, strict=True))  # [N, W, D], [N]
        self.observed.clear()
        per_clip = max(1, min(windows.shape[1], self.hparams.limit // len(windows)))
        chosen = np.linspace(0, windows.shape[1] - 1, per_clip).round().astype(int)
        clips = np.repeat(np.arange(len(windows)), per_clip)
        x = windows[:, chosen].reshape(len(clips), -1)
        fitted = self.make(clips).fit(x, label[clips])
        self.stored = torch.from_numpy(dump_estimator(fitted, f"classifier {self.name}").copy())
        self._loaded = None

    def posterior(self, batch: Batch) -> Tensor:
        windows = self.cut(batch)
        posterior = np.full((*windows.shape[:2], self.hparams.n_classes), 1 / self.hparams.n_classes)
        if len(self.stored):
            estimator = self._estimator()
            probabilities = estimator.predict_proba(windows.flatten(0, 1).cpu().numpy())
            posterior[:] = 0
            posterior[..., estimator.classes_] = probabilities.reshape(*windows.shape[:2], -1)
        posterior = posterior.clip(MIN_PROBABILITY)
        posterior /= posterior.sum(axis=2, keepdims=True)
        return torch.from_numpy(np.log(posterior)).float().to(windows.device)

    def loss(self, batch: Batch) -> Tensor:
        """Compute the cross entropy of windows, a scalar, which the checkpoint callback needs."""
        return -(self.shares(batch, self.hparams.n_classes)[:, None] * self.posterior(batch)).sum(dim=2).mean()

    def _estimator(self) -> Any:
        if self._loaded is None:
            self._loaded = load_estimator(self.stored.cpu().numpy(), f"classifier {self.name}")
        return self._loaded

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Resize the buffer to the stored estimator, then load; an estimator that cannot be loaded is found now."""
        self.stored = torch.zeros_like(state_dict.get(f"{prefix}stored", self.stored))
        self._loaded = None
        super()._load_from_state_dict(state_dict, prefix, *args)
        if len(self.stored):
            self._estimator()
