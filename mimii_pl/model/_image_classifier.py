"""What the classifiers of longer windows share: a window is an image that the whole network sees at once."""

from torch import Tensor

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._classifier import NetworkClassifier
from mimii_pl.model._detector import sliding_windows


class ImageClassifier(NetworkClassifier):
    """Base of the classifiers of images of `frames` frames: crops that cover a clip in training, windows in judging.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: classes.
        frames: frames of a window.
        window_hop: frames from one judged window to the next; the last window ends with the clip.
        **training: see `NetworkClassifier`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_classes: int, *, frames: int = 64, window_hop: int = 32, **training
    ) -> None:
        super().__init__(in_shape, n_classes, **training)
        self.need_one_channel(in_shape)
        self.crop = Crop(frames, tile=True)
        self.bins, self.frames = in_shape[1], min(frames, in_shape[2])

    def windows(self, batch: Batch) -> Tensor:
        """Windows that cover the clip, [B, 1, F, N] -> [B, W, 1, F, frames]."""
        return sliding_windows(batch.spec, self.hparams.frames, self.hparams.window_hop)
