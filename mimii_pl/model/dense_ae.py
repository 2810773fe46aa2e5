"""The auto-encoder of the DCASE task 2 baselines: what was never heard is rebuilt badly."""

from itertools import pairwise

from torch import Tensor, nn

from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.errors import InputError
from mimii_pl.model._detector import Detector


class DenseAE(Detector):
    """Dense auto-encoder over windows of consecutive log-mel frames (Koizumi et al., DCASE 2020, official baseline).

    640-128x4-8-128x4-640 with batch norm and ReLU. Score: mean squared error over the clip's windows, in dB^2.

    Training mixes windows: each clip is cut into tiles of `tile` windows, the tiles of all clips are shuffled anew in
    every epoch, and a step takes the windows of `dataset.batch_size` tiles. With the defaults that is 256 windows (the
    baseline's batch) from up to 32 clips; every window of a clip but the few that the tiling leaves over is seen once
    per epoch.

    Args:
        in_shape: (1, F, N) of a log-mel spectrum.
        n_ids: machine IDs; not used.
        frames: frames of a window.
        hidden: units of the hidden layers.
        bottleneck: units of the middle layer, whose mean over windows is the embedding.
        tile: windows per tile.
        frame_range: first and last + 1 frame of the clip that are used, for example [50, 250]; None: all.
        lr: Adam's learning rate.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        frames: int = 5,
        hidden: int = 128,
        bottleneck: int = 8,
        tile: int = 8,
        frame_range: list[int] | None = None,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        channels, bins, clip_frames = in_shape
        if channels != 1:
            raise InputError(f"model=dense_ae needs one channel, such as features=log_mel; these have shape {in_shape}")
        if clip_frames < frames:
            raise InputError(f"clips of {clip_frames} frames are shorter than one window of model.frames={frames}")
        self.save_hyperparameters()
        self.crop = Crop(tile + frames - 1, True, frames - 1, tuple(frame_range) if frame_range else None)
        width = frames * bins
        self.encoder = nn.Sequential(*_layers(width, hidden, hidden, hidden, hidden, bottleneck))
        self.decoder = nn.Sequential(*_layers(bottleneck, hidden, hidden, hidden, hidden), nn.Linear(hidden, width))

    def windows(self, batch: Batch) -> Tensor:
        """Every window of consecutive frames, frame by frame in a row: [B, 1, F, N] -> [B, W, frames * F]."""
        whole = batch.frame is None  # crops lie within the frame range already
        start, stop = self.hparams.frame_range if self.hparams.frame_range and whole else (0, None)
        windows = batch.spec[:, 0, :, start:stop].unfold(2, self.hparams.frames, 1)  # [B, F, W, frames], a view
        return windows.permute(0, 2, 3, 1).flatten(2)

    def errors(self, batch: Batch) -> Tensor:
        """Squared error per window, [B, W]."""
        windows = self.windows(batch)
        flat = windows.flatten(0, 1)
        return (self.decoder(self.encoder(flat)) - flat).square().mean(dim=1).view(windows.shape[:2])

    def loss(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean()

    def score(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean(dim=1)

    def embed(self, batch: Batch) -> Tensor:
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).view(*windows.shape[:2], -1).mean(dim=1)


def _layers(*widths: int) -> list[nn.Module]:
    """Dense layers, each followed by batch norm and ReLU; eps and momentum are those of Keras, as in the baseline."""
    layers = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out, eps=1e-3, momentum=0.01), nn.ReLU()]
    return layers
