"""Outlier exposure: the normal clips of the other machine IDs stand in for anomalies."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch, Crop
from mimii_pl.model._detector import Detector, sliding_windows, spec_of

# channels (multiples of model.channels), both kernels, pooling by 2 afterwards: Primus et al., DCASE 2020
BLOCKS_OF_RESNET = (
    (1, (3, 1), True),
    (1, (3, 3), True),
    (1, (3, 3), False),
    (1, (3, 3), True),
    (2, (1, 1), False),
    (4, (1, 1), False),
    (4, (1, 1), False),
)
APART = ("ToyCar", "ToyConveyor")  # of ToyADMOS; the other types of DCASE 2020 are of MIMII


class OutlierExposure(Detector):
    """Residual network that tells each machine ID from all others recorded in the same way (Primus et al., DCASE 2020).

    Use it if there are several machine IDs, the more the better: `machine=all`. It has one output per ID, the logit of
    "not this machine"; the original trains a network for each. Own clips and outliers count equally for every output.
    The receptive field is small on purpose (CP-ResNet), and a clip is scored as the mean over windows that cover it.
    For an ID not seen in training, the score is the lowest of all outputs.

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs.
        channels: of the first blocks; the last ones have four times as many. The original has 128.
        frames: frames of a window, in training and scoring.
        window_hop: frames from one scored window to the next; the last window ends with the clip.
        apart: machine types recorded in another way than the rest: these and those are no outliers of one another,
            since the recording alone would tell them apart.
        lr: Adam's learning rate.
    """

    trains_in_bfloat16 = True
    one_thread_per_batch = True
    outlier: Tensor  # [K, K], 1 where ID j is an outlier of ID k
    share: Tensor  # [K], of the training clips

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        channels: int = 32,
        frames: int = 256,
        window_hop: int = 64,
        apart: list[str] | tuple[str, ...] = APART,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.need_one_channel(in_shape)
        if n_ids < 2:
            raise InputError(
                "model=outlier_exposure learns from the clips of other machine IDs, and this training set has one ID "
                "only. Choose a detector that needs no IDs (model=dense_ae), or machine=all"
            )
        self.crop = Crop(frames)
        self.uses_machine_id = True
        self.encoder = _resnet(channels)
        self.output = nn.Sequential(nn.Conv2d(4 * channels, n_ids, 1, bias=False), nn.BatchNorm2d(n_ids))
        self.register_buffer("outlier", 1 - torch.eye(n_ids))
        self.register_buffer("share", torch.full((n_ids,), 1 / n_ids))

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning, not declared
        self.expose(data.labels, 1 / (data.class_weights() * len(data.labels)))

    def expose(self, labels: list[str], share: Tensor) -> None:
        """Set the outliers of each machine ID.

        Args:
            labels: machine IDs as `<machine>/<id>`.
            share: of each ID in the training clips, [K].

        Raises:
            InputError: an ID has no outlier.
        """
        apart = torch.tensor([label.split("/")[0] in self.hparams.apart for label in labels])
        outlier = (apart[:, None] == apart) & ~torch.eye(len(labels), dtype=torch.bool)
        if not outlier.any(dim=1).all():
            alone = labels[int(outlier.any(dim=1).int().argmin())]
            raise InputError(
                f"model.apart={list(self.hparams.apart)}: no other machine ID is recorded in the same way as {alone}, "
                "so nothing can be learned about it: set model.apart to the types recorded in another way, or []"
            )
        self.outlier.copy_(outlier)
        self.share.copy_(share)

    def windows(self, batch: Batch) -> Tensor:
        """Cut windows that cover the clip, [B, 1, F, N] -> [B, W, 1, F, frames]."""
        return sliding_windows(spec_of(batch), self.hparams.frames, self.hparams.window_hop)

    def logits(self, batch: Batch) -> Tensor:
        """Compute the logit of "not this machine" for each window and machine ID, [B, W, K]."""
        windows = self.windows(batch)
        maps = self.output(self.encoder(windows.flatten(0, 1)))
        return maps.mean(dim=(2, 3)).float().unflatten(0, windows.shape[:2])

    def loss(self, batch: Batch) -> Tensor:
        own = F.one_hot(batch.machine_id, self.hparams.n_ids).float() if batch.target is None else batch.target
        exposed = own @ self.outlier.T  # [B, K]
        logits = self.logits(batch)
        inliers = (own / self.share)[:, None] * F.softplus(logits)
        outliers = (exposed / (self.outlier @ self.share))[:, None] * F.softplus(-logits)
        return (inliers + outliers).mean() / 2

    def score(self, batch: Batch) -> Tensor:
        """Average the logit of the clip's own ID over windows, [B]."""
        logits = self.logits(batch).mean(dim=1)
        own = logits.gather(1, batch.machine_id.clamp(min=0)[:, None])[:, 0]
        return torch.where(batch.machine_id >= 0, own, logits.min(dim=1).values)

    def embed(self, batch: Batch) -> Tensor:
        """Compute the pooled features of each window, [B, W, 4 * channels]."""
        windows = self.windows(batch)
        return self.encoder(windows.flatten(0, 1)).mean(dim=(2, 3)).unflatten(0, windows.shape[:2])

    def classify(self, batch: Batch) -> Tensor:
        """Compute a probability of each machine ID by the softmax of its negative logits, [B, K]."""
        return (-self.logits(batch)).softmax(dim=2).mean(dim=1)


class ResNetBlock(nn.Module):
    """Two convolutions added to their input, which a 1 x 1 convolution widens if it has fewer channels."""

    def __init__(self, channels_in: int, channels_out: int, kernels: tuple[int, int]) -> None:
        super().__init__()
        first, second = kernels
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, first, padding=first // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, second, padding=second // 2, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Transform feature maps, [M, C, F, N] -> [M, C', F, N]."""
        return F.relu(self.shortcut(x) + self.layers(x))


def _resnet(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(1, channels, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
    before = channels
    for multiple, kernels, pools in BLOCKS_OF_RESNET:
        layers.append(ResNetBlock(before, multiple * channels, kernels))
        before = multiple * channels
        if pools:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers)
