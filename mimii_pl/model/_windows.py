"""Windows of consecutive frames, and the crops of clips that training cuts them from."""

from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import MORE_FRAMES, spec_of


class FrameWindows:
    """Cutter of windows of `frames` consecutive frames, one starting at every frame.

    Training mixes windows: each clip is cut into tiles of `tile` windows, the tiles of all clips are reshuffled every
    epoch, and a step takes the windows of `dataset.batch_size` tiles. With the defaults that is 256 windows from up to
    32 clips; every window of a clip is seen once per epoch, except for the few that tiling leaves over.

    Args:
        in_shape: (1, F, N) of a spectrum.
        frames: frames of a window.
        tile: windows per tile.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.

    Attributes:
        width: values in a window, frames * F.
        crop: crops to request from the data module in training.
    """

    def __init__(self, in_shape: tuple[int, int, int], frames: int, tile: int, frame_range: list[int] | None) -> None:
        _, self.bins, clip_frames = in_shape
        if clip_frames < frames:
            raise InputError(
                f"clips of {clip_frames} frames are shorter than one window of model.frames={frames}: {MORE_FRAMES}"
            )
        if frame_range:
            first, stop = frame_range if len(frame_range) == 2 else (0, 0)
            if first < 0 or min(stop, clip_frames) - first < frames:
                raise InputError(
                    f"model.frame_range={frame_range}: give the first and the last + 1 frame, at least "
                    f"model.frames={frames} apart, of clips of {clip_frames} frames"
                )
        self.frames, self.width, self.frame_range = frames, frames * self.bins, frame_range
        within = (frame_range[0], frame_range[1]) if frame_range else None
        self.crop = Crop(tile + frames - 1, True, frames - 1, within)

    def __call__(self, batch: Batch) -> Tensor:
        """Cut every window, flattened frame by frame: [B, 1, F, N] -> [B, W, frames * F]."""
        whole = batch.frame is None  # crops lie within the frame range already
        start, stop = self.frame_range if self.frame_range and whole else (0, None)
        windows = spec_of(batch)[:, 0, :, start:stop].unfold(2, self.frames, 1)  # [B, F, W, frames], a view
        return windows.permute(0, 2, 3, 1).flatten(2)
