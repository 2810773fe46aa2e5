"""Normalising flow: how unlikely a sound is for its machine ID."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import Detector, sliding_windows, spec_of
from mimii_pl.model._flows import Glow

QUANTILE = 0.95  # of the training clips' own likelihoods: outliers should be less likely than these
FORGETTING = 0.99  # of that quantile, from step to step


class Flow(Detector):
    """Glow on mean spectra of windows, or on patches of the spectrum, with a condition for each machine ID.

    Use `view=mean` on a CPU: it trains in seconds. Score: negative log likelihood per dimension in nats, averaged over
    windows; for an ID not seen in training, of the most likely ID. With `outlier` above 0 each clip should also be
    unlikely as any other ID (the idea of Dohi et al., ICASSP 2021, who had flows of their own per ID): a hinge on its
    likelihood as a random other ID is added, up to `margin` beyond the 95th percentile of the training clips.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs.
        view: `mean`, the mean over the frames of a window, F values; `patch`, the window itself.
        frames: frames of a window, in training and scoring.
        window_hop: frames from one scored window to the next; the last window ends with the clip.
        levels: of a flow on patches, each of which halves bins and frames; 1 on mean spectra.
        depth: steps per level.
        hidden: channels within the couplings.
        noise: standard deviation of the noise added in training, in that of the features.
        outlier: weight of the loss by other IDs; 0: none.
        margin: by which other IDs should be less likely, in nats per dimension.
        warmup: epochs before the loss by other IDs begins.
        lr: Adam's learning rate.
    """

    one_thread_per_batch = True
    limit: Tensor  # running quantile of the negative log likelihood of training clips

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        view: Literal["mean", "patch"] = "mean",
        frames: int = 64,
        window_hop: int = 32,
        levels: int = 3,
        depth: int = 6,
        hidden: int = 128,
        noise: float = 0.1,
        outlier: float = 0.0,
        margin: float = 0.5,
        warmup: int = 5,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.need_one_channel(in_shape)
        width = min(frames, in_shape[2])
        shape, kernel = (in_shape[1], 1, 1), 1
        if view == "patch":
            shape, kernel = (1, in_shape[1], width), 3
            self._require_halves(in_shape[1], width, levels)
        if outlier > 0 and n_ids < 2:
            raise InputError(f"model.outlier={outlier:g}: this training set has one ID only; set model.outlier=0")
        self.crop = Crop(frames, tile=True)
        self.uses_machine_id = n_ids > 1
        self.glow = Glow(
            shape, n_ids, levels=levels if view == "patch" else 1, depth=depth, hidden=hidden, kernel=kernel
        )
        self.register_buffer("limit", torch.tensor(torch.nan))

    def _require_halves(self, bins: int, frames: int, levels: int) -> None:
        multiple = 2**levels
        if levels < 2 or bins % multiple or frames % multiple:
            raise InputError(
                f"model.levels={levels}: patches of {bins} bins x {frames} frames cannot be halved so often: set "
                f"features.n_mels and model.frames to multiples of {multiple}, or another model.levels from 2 (clips "
                "of fewer frames than model.frames are one patch)"
            )

    def windows(self, batch: Batch) -> Tensor:
        """Cut the maps that the flow models from windows that cover the clip, [B, W, C, H, W']."""
        windows = sliding_windows(spec_of(batch), self.hparams.frames, self.hparams.window_hop)  # [B, W, 1, F, frames]
        if self.hparams.view == "patch":
            return windows
        return windows.mean(dim=4).transpose(2, 3)[..., None]  # [B, W, F, 1, 1]

    def loss(self, batch: Batch) -> Tensor:
        windows = self.windows(batch)
        x, number = windows.flatten(0, 1), batch.machine_id.repeat_interleave(windows.shape[1])
        if self.training:
            x = x + self.hparams.noise * torch.randn_like(x)
        own = self.glow.nll(x, number)
        if self.training:
            self._observe(own.detach())
        if not self.hparams.outlier or self.limit.isnan() or (self.training and self._warming_up()):
            return own.mean()
        other = (number + self._steps(number)) % self.hparams.n_ids
        hinge = F.relu(self.limit + self.hparams.margin - self.glow.nll(x, other))
        return own.mean() + self.hparams.outlier * hinge.mean()

    def _observe(self, own: Tensor) -> None:
        quantile = own.float().quantile(QUANTILE)
        self.limit.copy_(
            torch.where(self.limit.isnan(), quantile, FORGETTING * self.limit + (1 - FORGETTING) * quantile)
        )

    def _warming_up(self) -> bool:
        return self._trainer is not None and self.current_epoch < self.hparams.warmup

    def _steps(self, number: Tensor) -> Tensor:
        """Draw distances to another ID, from 1; in evaluation always the next one."""
        if self.training:
            return torch.randint_like(number, 1, self.hparams.n_ids)
        return torch.ones_like(number)

    def likelihoods(self, batch: Batch) -> Tensor:
        """Compute the negative log likelihood of each window as each machine ID, [B, W, K]."""
        windows = self.windows(batch)
        x = windows.flatten(0, 1)
        number = torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
        each = [self.glow.nll(x, number + k) for k in range(self.hparams.n_ids)]
        return torch.stack(each, dim=1).unflatten(0, windows.shape[:2])

    def score(self, batch: Batch) -> Tensor:
        if torch.compiler.is_exporting() or (batch.machine_id < 0).any():
            every = self.likelihoods(batch).mean(dim=1)  # [B, K]
            own = every.gather(1, batch.machine_id.clamp(min=0)[:, None])[:, 0]
            return torch.where(batch.machine_id >= 0, own, every.min(dim=1).values)
        windows = self.windows(batch)
        number = batch.machine_id.repeat_interleave(windows.shape[1])
        return self.glow.nll(windows.flatten(0, 1), number).unflatten(0, windows.shape[:2]).mean(dim=1)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the latents of each window as its own machine ID (an unseen one: as the first), [B, W, D]."""
        windows = self.windows(batch)
        number = batch.machine_id.clamp(min=0).repeat_interleave(windows.shape[1])
        return self.glow(windows.flatten(0, 1), number)[0].unflatten(0, windows.shape[:2])
