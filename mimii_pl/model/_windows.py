"""Windows of consecutive frames: how they are cut from a spectrum, and the crops that training takes them from."""

from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop


class FrameWindows:
    """Cuts windows of `frames` consecutive frames from spectra, one per frame.

    Training mixes windows: each clip is cut into tiles of `tile` windows, the tiles of all clips are shuffled anew in
    every epoch, and a step takes the windows of `dataset.batch_size` tiles. With the defaults that is 256 windows from
    up to 32 clips; every window of a clip but the few that the tiling leaves over is seen once per epoch.

    Args:
        in_shape: (1, F, N) of a spectrum.
        frames: frames of a window.
        tile: windows per tile.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.

    Attributes:
        width: numbers in a window.
        crop: what is asked of the data module in training.
    """

    def __init__(self, in_shape: tuple[int, int, int], frames: int, tile: int, frame_range: list[int] | None) -> None:
        _, self.bins, clip_frames = in_shape
        if clip_frames < frames:
            raise InputError(f"clips of {clip_frames} frames are shorter than one window of model.frames={frames}")
        self.frames, self.width, self.frame_range = frames, frames * self.bins, frame_range
        self.crop = Crop(tile + frames - 1, True, frames - 1, tuple(frame_range) if frame_range else None)

    def __call__(self, batch: Batch) -> Tensor:
        """Every window, frame by frame in a row: [B, 1, F, N] -> [B, W, frames * F]."""
        whole = batch.frame is None  # crops lie within the frame range already
        start, stop = self.frame_range if self.frame_range and whole else (0, None)
        windows = batch.spec[:, 0, :, start:stop].unfold(2, self.frames, 1)  # [B, F, W, frames], a view
        return windows.permute(0, 2, 3, 1).flatten(2)
