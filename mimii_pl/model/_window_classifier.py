"""Base class of the classifiers of windows of consecutive frames, the counterparts of the auto-encoders."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._classifier import NetworkClassifier
from mimii_pl.model._windows import FrameWindows


class WindowClassifier(NetworkClassifier):
    """Base class of the classifiers of windows of frames: the encoder of an auto-encoder, followed by a linear layer.

    A subclass takes its own options and passes `**window` on, then sets `self.encoder`, which maps windows
    [M, `self.width`] to embeddings [M, D], and calls `set_head(D)`.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_classes: number of classes.
        frames: frames of a window.
        tile: windows per tile, see `FrameWindows`.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.
        **training: see `NetworkClassifier`.
    """

    small_steps = True

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_classes: int,
        *,
        frames: int = 5,
        tile: int = 8,
        frame_range: list[int] | None = None,
        **training: Any,
    ) -> None:
        super().__init__(in_shape, n_classes, **training)
        self.need_one_channel(in_shape)
        self.cut = FrameWindows(in_shape, frames, tile, frame_range)
        self.bins, self.frames, self.width, self.crop = self.cut.bins, frames, self.cut.width, self.cut.crop

    def set_head(self, width: int) -> None:
        """Add the linear layer from embeddings of `width` values to the classes."""
        self.head = nn.Linear(width, self.hparams.n_classes)

    def windows(self, batch: Batch) -> Tensor:
        """Cut every window of consecutive frames, flattened frame by frame: [B, 1, F, N] -> [B, W, frames * F]."""
        return self.cut(batch)
