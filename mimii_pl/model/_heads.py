"""Heads of classifiers: from embeddings to logits, the posterior, and a loss that takes soft labels.

M embeddings of D values, K classes. `HEADS` names the heads; `HeadClassifier` gives a detector their options.
"""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.model._classifier import Classifier

HeadName = Literal["softmax", "arcface", "adacos", "subcluster_adacos", "adaproj"]
TINY = 1e-7  # keeps cosines within the range of the arc cosine, and roots and AdaProj's scale above 0
LOWEST_SCALE = 0.5  # of AdaCos: the formula gives 0 for two classes


class Head(nn.Module):
    """Base of the heads; `forward` maps embeddings [M, D] to logits [M, K]."""

    def log_posterior(self, x: Tensor) -> Tensor:
        """Compute the log posterior over the classes, [M, D] -> [M, K]."""
        return self(x).float().log_softmax(dim=1)

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Compute the cross entropy of embeddings [M, D] with shares of classes [M, K], a scalar."""
        return -(target * self.log_posterior(x)).sum(dim=1).mean()


class SoftmaxHead(nn.Linear, Head):
    """Linear layer with bias, trained with the cross entropy."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__(width, n_classes)

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(self(x).float(), target)


class CosineHead(Head):
    """Base of the heads that compare directions: logits are scaled cosines between embeddings and centres.

    Args:
        width: D.
        n_centres: number of centres.
        scale: factor of the cosines.
        trainable: False: the centres keep their random directions.
    """

    scale: Tensor

    def __init__(self, width: int, n_centres: int, *, scale: float, trainable: bool = True) -> None:
        super().__init__()
        centres = nn.init.xavier_uniform_(torch.empty(n_centres, width))
        if trainable:
            self.centres = nn.Parameter(centres)
        else:
            self.register_buffer("centres", centres)
        self.register_buffer("scale", torch.tensor(scale))

    def cosines(self, x: Tensor) -> Tensor:
        """Compute the cosine between each embedding and each centre, [M, D] -> [M, centres]."""
        return F.linear(F.normalize(x.float()), F.normalize(self.centres.float()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.cosines(x)


class ArcFace(CosineHead):
    """Additive angular margin (Deng et al., CVPR 2019): the angle to the own centre counts `margin` rad more.

    Soft labels: the mean of the losses of the classes, each with the margin on itself, weighted with their shares
    (ArcMix; Choi and Choi, ICASSP 2024). The posterior has no margin.

    Args:
        width: D.
        n_classes: K.
        margin: in rad; beyond an angle of pi - margin the cosine falls linearly, by margin * sin(margin).
        scale: factor of the cosines.
    """

    def __init__(self, width: int, n_classes: int, *, margin: float = 0.5, scale: float = 30.0) -> None:
        super().__init__(width, n_classes, scale=scale)
        self.margin = margin

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        cosine = self.cosines(x)
        logits = cosine[:, None] + torch.diag_embed(
            add_margin(cosine, self.margin) - cosine
        )  # [M, class with the margin, K]
        own = (self.scale * logits).log_softmax(dim=2).diagonal(dim1=1, dim2=2)
        return -(target * own).sum(dim=1).mean()


class AdaCos(CosineHead):
    """Cosine softmax whose scale follows from the number of classes (Zhang et al., CVPR 2019).

    Args:
        width: D.
        n_classes: K.
        trainable: False: the centres keep their random directions.
        dynamic_scale: adapt the scale to every batch of training, from the median angle to the own centre and the
            mean sum of exp(logits) over other classes; False: sqrt(2) ln(K - 1). At least .5, which matters for two
            classes.
    """

    def __init__(self, width: int, n_classes: int, *, trainable: bool = True, dynamic_scale: bool = False) -> None:
        super().__init__(width, n_classes, scale=fixed_scale(n_classes), trainable=trainable)
        self.dynamic_scale = dynamic_scale

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        cosine = self.cosines(x)
        if self.training and self.dynamic_scale:
            logits = (self.scale * cosine.detach()).masked_fill(target == 1, -torch.inf)
            others = logits.logsumexp(dim=1).logsumexp(dim=0) - math.log(len(x))
            scale = others / median_angle(cosine.detach(), target).clamp(max=math.pi / 4).cos()
            self.scale.copy_(scale.clamp(min=LOWEST_SCALE))
        return -(target * (self.scale * cosine).log_softmax(dim=1)).sum(dim=1).mean()


class SubclusterAdaCos(CosineHead):
    """AdaCos with several centres per class, whose probabilities are summed (Wilkinghoff, IJCNN 2021).

    Args:
        width: D.
        n_classes: K.
        subclusters: centres per class, S.
        trainable: False: the centres keep their random directions.
        dynamic_scale: adapt the scale to every batch of training, from the median over clips of the mean angle to the
            own centres and the mean sum of exp(logits); False: sqrt(2) ln(K S - 1).
    """

    def __init__(
        self,
        width: int,
        n_classes: int,
        *,
        subclusters: int = 16,
        trainable: bool = True,
        dynamic_scale: bool = False,
    ) -> None:
        centres = n_classes * subclusters
        super().__init__(width, centres, scale=fixed_scale(centres), trainable=trainable)
        self.n_classes, self.dynamic_scale = n_classes, dynamic_scale

    def forward(self, x: Tensor) -> Tensor:
        return self._summed(self.scale * self.cosines(x))

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        cosine = self.cosines(x)
        if self.training and self.dynamic_scale:
            total = (self.scale * cosine.detach()).logsumexp(dim=1).logsumexp(dim=0) - math.log(len(x))
            angles = arc_cosine(cosine.detach()).unflatten(1, (self.n_classes, -1)).mean(dim=2)
            median = (target * angles).sum(dim=1).median()
            self.scale.copy_((total / (median.clamp(max=math.pi / 4).cos() + TINY)).clamp(min=LOWEST_SCALE))
        return -(target * self._summed((self.scale * cosine).log_softmax(dim=1))).sum(dim=1).mean()

    def _summed(self, logits: Tensor) -> Tensor:
        """Sum exp(logits) over the centres of each class, [M, K S] -> [M, K], in the logarithm."""
        return logits.unflatten(1, (self.n_classes, -1)).logsumexp(dim=2)


class AdaProj(CosineHead):
    """Cosines between embeddings and their projection onto a subspace of each class (Wilkinghoff, EUSIPCO 2024).

    The projection is the sum over the rows w of (w x) w, for rows of length 1 that need not be orthogonal, scaled to
    length 1. The scale adapts to every batch of training, as in AdaCos.

    Args:
        width: D.
        n_classes: K.
        subspace: rows per class, the dimensions of a subspace.
        trainable: False: the subspaces stay as they are drawn.
    """

    def __init__(self, width: int, n_classes: int, *, subspace: int = 32, trainable: bool = True) -> None:
        super().__init__(width, n_classes * subspace, scale=fixed_scale(n_classes), trainable=trainable)
        self.n_classes = n_classes

    def cosines(self, x: Tensor) -> Tensor:
        """Compute the cosine between each embedding and its projection of each class, [M, D] -> [M, K]."""
        rows = F.normalize(self.centres.float()).unflatten(0, (self.n_classes, -1))  # [K, S, D]
        share = torch.einsum("md,ksd->mks", F.normalize(x.float()), rows)
        gram = rows @ rows.transpose(1, 2)  # [K, S, S]: the squared length of a projection is share gram share
        length = torch.einsum("mks,kst,mkt->mk", share, gram, share).clamp(min=TINY).sqrt()
        return share.square().sum(dim=2) / length

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        cosine = self.cosines(x)
        if self.training:
            logits = (self.scale * cosine.detach()).masked_fill(target == 1, 0)
            total = logits.logsumexp(dim=1).logsumexp(dim=0) - math.log(len(x))
            scale = total / median_angle(cosine.detach(), target).clamp(max=math.pi / 4).cos()
            self.scale.copy_(scale.clamp(min=TINY))
        return -(target * (self.scale * cosine).log_softmax(dim=1)).sum(dim=1).mean()


def fixed_scale(n_centres: int) -> float:
    """Compute the scale of cosines that suits a softmax over `n_centres`: sqrt(2) ln(n - 1), at least .5."""
    return max(math.sqrt(2) * math.log(max(n_centres - 1, 1)), LOWEST_SCALE)


def add_margin(cosine: Tensor, margin: float) -> Tensor:
    """Compute the cosine of an angle plus `margin` rad; beyond pi - margin it falls by margin * sin(margin) instead."""
    sine = (1 - cosine.square()).clamp(min=TINY).sqrt()
    further = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), further, cosine - margin * math.sin(margin))


def arc_cosine(cosine: Tensor) -> Tensor:
    """Compute angles in rad, of cosines that rounding may have moved out of their range."""
    return cosine.clamp(-1 + TINY, 1 - TINY).acos()


def median_angle(cosine: Tensor, target: Tensor) -> Tensor:
    """Compute the median over clips of the angle to the own class, a scalar in rad; soft labels weight the angles."""
    return (target * arc_cosine(cosine)).sum(dim=1).median()


HEADS: dict[str, tuple[type[Head], tuple[str, ...]]] = {  # name -> class, options that it has
    "softmax": (SoftmaxHead, ()),
    "arcface": (ArcFace, ("margin", "scale")),
    "adacos": (AdaCos, ("trainable", "dynamic_scale")),
    "subcluster_adacos": (SubclusterAdaCos, ("subclusters", "trainable", "dynamic_scale")),
    "adaproj": (AdaProj, ("subspace", "trainable")),
}
assert tuple(HEADS) == get_args(HeadName)


class HeadClassifier(Classifier):
    """Base of the classifiers whose head is an option.

    Args:
        head: `softmax`, `arcface`, `adacos`, `subcluster_adacos` or `adaproj`.
        margin: angle in rad that `arcface` adds to that of the own class in training.
        scale: factor of the cosines of `arcface`.
        subclusters: centres per class of `subcluster_adacos`.
        subspace: dimensions of a class's subspace, `adaproj`.
        trainable: train the centres or subspaces of the last three; False: they stay as they are drawn.
        dynamic_scale: adapt the scale of `adacos` and `subcluster_adacos` to every batch; False: it follows from the
            number of classes. That of `adaproj` always adapts.
    """

    one_thread_per_batch = True

    def __init__(
        self,
        *,
        head: HeadName = "softmax",
        margin: float = 0.5,
        scale: float = 30.0,
        subclusters: int = 16,
        subspace: int = 32,
        trainable: bool = True,
        dynamic_scale: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of the subclass too

    def new_head(self, width: int, n_classes: int, **options: Any) -> Head:
        """Make the chosen head for embeddings of `width` values; `options` overrule those of the detector."""
        kind, names = HEADS[self.hparams.head]
        values = {name: self.hparams[name] for name in names} | options
        return kind(width, n_classes, **{name: value for name, value in values.items() if name in names})
