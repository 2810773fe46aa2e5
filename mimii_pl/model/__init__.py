"""Representation -> score, embedding, class: one module per detector."""

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import Detector
from mimii_pl.model._training_free import TrainingFree

__all__ = ["Batch", "Crop", "Detector", "TrainingFree"]
