"""Representation -> score, embedding, class: one module per detector.

Bases to subclass: `Detector` for any detector, `TrainingFree` for one pass over the training clips, `WindowAE` for
auto-encoders of short windows, `GAN` for adversarial ones. Classifiers: `WindowClassifier` (short windows),
`ImageClassifier` (longer ones), `NetworkClassifier` (other inputs), `EstimatorClassifier` (scikit-learn),
`HeadClassifier` (a head by option), `Classifier`.
A detector reads `Batch`, mostly by `spec_of`, and requests a `Crop`.
"""

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import Classifier, NetworkClassifier
from mimii_pl.model._detector import Detector, spec_of
from mimii_pl.model._estimator_classifier import EstimatorClassifier
from mimii_pl.model._gan import GAN
from mimii_pl.model._heads import HeadClassifier
from mimii_pl.model._image_classifier import ImageClassifier
from mimii_pl.model._training_free import Deviation, TrainingFree
from mimii_pl.model._window_ae import WindowAE
from mimii_pl.model._window_classifier import WindowClassifier

__all__ = [
    "GAN",
    "Batch",
    "Classifier",
    "Crop",
    "Detector",
    "Deviation",
    "EstimatorClassifier",
    "HeadClassifier",
    "ImageClassifier",
    "NetworkClassifier",
    "TrainingFree",
    "WindowAE",
    "WindowClassifier",
    "spec_of",
]
