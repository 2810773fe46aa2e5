"""Plain spectra: a representation for back ends that needs no training."""

from typing import Literal

from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._detector import MORE_FRAMES, spec_of
from mimii_pl.model._training_free import Deviation


class Spectrum(Deviation):
    """Windows of the plain spectrum as embeddings for a back end, without training (Wilkinghoff, TASLP 2025).

    Use it with a back end as a strong baseline: with one frame and `backend.pool=mean` the embedding is the time-mean
    spectrum. Without a back end, the score is the mean squared deviation of a clip's windows from those of the training
    clips, in standard deviations of each value.

    Args:
        in_shape: (1, F, N) of a spectrum in dB.
        n_ids: number of machine IDs; not used.
        frames: frames of a window.
        scale: `db`, as the features are, or `amplitude`, linear magnitude.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        frames: int = 1,
        scale: Literal["db", "amplitude"] = "db",
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        if in_shape[2] < frames:
            raise InputError(
                f"clips of {in_shape[2]} frames are shorter than one window of model.frames={frames}: {MORE_FRAMES}"
            )
        self.save_hyperparameters()
        self.build_deviation(frames * in_shape[1])

    def embed(self, batch: Batch) -> Tensor:
        """Cut windows of consecutive frames, [B, W, frames * F]."""
        spec = spec_of(batch)[:, 0]
        scaled = spec if self.hparams.scale == "db" else 10 ** (spec / 20)
        return scaled.unfold(2, self.hparams.frames, 1).permute(0, 2, 3, 1).flatten(2)
