"""Base class of the classifiers that see a longer window at once, as an image."""

from typing import Any

from torch import Tensor

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import NetworkClassifier
from mimii_pl.model._detector import sliding_windows, spec_of


class ImageClassifier(NetworkClassifier):
    """Base class of the classifiers of images of `frames` frames: tiled crops in training, sliding windows afterwards.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        frames: frames of a window.
        window_hop: frames from one evaluated window to the next; the last window ends with the clip.
        **training: see `NetworkClassifier`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        frames: int = 64,
        window_hop: int = 32,
        **training: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **training)
        self.need_one_channel(in_shape)
        self.crop = Crop(frames, tile=True)
        self.bins, self.frames = in_shape[1], min(frames, in_shape[2])

    def windows(self, batch: Batch) -> Tensor:
        """Cut windows that cover the clip, [B, 1, F, N] -> [B, W, 1, F, frames]."""
        return sliding_windows(spec_of(batch), self.hparams.frames, self.hparams.window_hop)
