"""The base of every back end: fitted on embeddings of normal training clips, scores any other clip."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError

Pool = Literal["mean", "mean_std", "max", "gem", "rdp", "none"]
ALL_IDS = -1  # the part fitted on all machine IDs: for IDs not seen in training
OWN_ID, EVERY_ID = "own ID", "all IDs"  # the two scopes of a judge
FOLDS = 5
FEWEST_HELD_OUT = 5  # cross-validated clips that a machine ID needs to be standardized by itself
SMALLEST = 1e-12  # score that is still told from 0 in logarithms


class BackEnd:
    """Base of the back ends. N clips, W windows, D numbers per embedding; higher scores are more anomalous.

    A subclass implements `fit_one`, which fits one part (arrays by name) to the normal embeddings of one machine ID,
    and `score_one`, which scores embeddings with a part.

    A back end that judges a clip in several ways standardizes each of them: by the median and standard deviation of the
    cross-validated scores of the clip's machine ID, in logarithms where scores are positive. The score is their mean.

    Args:
        per_id: fit and score per machine ID; False: pool all IDs; `both`: the standardized mean of the two. A clip of
            an ID not seen in training is scored against all of them.
        pool: how the embeddings of a clip's windows are combined: `mean`, `mean_std` (concatenated), `max`, `gem`
            (generalized mean of the absolute values), `rdp` (mean weighted by the distance from it, see `pool`);
            `none`: every window is fitted and scored, and the clip's score is the mean. Embeddings of whole clips are
            used unchanged.
        gem_power: power of the generalized mean.
        rdp_gamma: exponent of the weights of `rdp`; 0 is the mean.
        view: the part of the embedding that is used, where the detector has named `views`; None: all of it.
        limit: largest number of embeddings a part is fitted on; more are subsampled at random.
    """

    least = 1  # fewest embeddings a part can be fitted on
    positive = True  # no score is below 0

    def __init__(
        self,
        *,
        per_id: bool | Literal["both"] = True,
        pool: Pool = "mean",
        gem_power: float = 3.0,
        rdp_gamma: float = 4.0,
        view: str | None = None,
        limit: int = 20_000,
    ) -> None:
        self.per_id, self.pool, self.view, self.limit = per_id, pool, view, limit
        self.gem_power, self.rdp_gamma = gem_power, rdp_gamma
        self.device = torch.device("cpu")
        self.views: Mapping[str, slice] = {}
        self.parts: dict[int, dict[str, np.ndarray]] = {}

    @property
    def name(self) -> str:
        """Name on the command line, which is the name of the module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def judges(self) -> list[str]:
        """Names of the ways in which it judges a clip."""
        return [OWN_ID, EVERY_ID] if self.per_id == "both" else [OWN_ID if self.per_id else EVERY_ID]

    @property
    def judge_weights(self) -> list[float] | None:
        """Weight of each judge in the mean; None: all the same."""
        return None

    @property
    def standardizes(self) -> bool:
        """True if the score is the mean of standardized scores of several judges."""
        return self.per_id == "both"

    @property
    def least_clips(self) -> int:
        """Fewest normal clips that it can be fitted to: one more than a part needs where folds standardize."""
        return self.least + 1 if self.standardizes else self.least

    @property
    def first_view(self) -> str | None:
        """The view that it, or its first member, uses; None: all of the embedding."""
        return self.view

    @property
    def positives(self) -> list[bool]:
        """For each judge, whether its scores are standardized in logarithms."""
        return [self.positive] * len(self.judges)

    def prepare(self, views: Mapping[str, slice], device: torch.device) -> None:
        """Take the named parts of a detector's embeddings, and the device to compute on.

        Raises:
            InputError: the view is not one of them.
        """
        if self.view is not None and self.view not in views:
            names = f"It has {', '.join(views)}" if views else "It has none: leave out backend.view"
            raise InputError(f"backend.view={self.view}: this detector's embedding has no such view. {names}")
        self.views, self.device = views, device

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Fit a part, arrays by name, to normal embeddings [n, D]."""
        raise NotImplementedError

    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """Compute the anomaly scores [n] of embeddings [n, D]."""
        raise NotImplementedError

    def tensor_part(self, part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays of a part that `tensor_score` takes.

        Raises:
            InputError: there is no `tensor_score`.
        """
        if type(self).tensor_score is BackEnd.tensor_score:
            raise InputError(
                f"backend={self.name} cannot be exported: its scores are not computed from tensors. Those of knn, gmm, "
                "mahalanobis, pca, kmeans and committee are: mimii rescore backend=knn, then export that run"
            )
        return {name: array for name, array in part.items() if name != "scale"}

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Compute the anomaly scores [n] of embeddings [n, D] as `score_one` does, for an exported graph."""
        raise NotImplementedError

    # --- fit ---------------------------------------------------------------------------------------------------------
    def fit(
        self,
        embeddings: np.ndarray,
        ids: np.ndarray,
        domains: np.ndarray | None = None,
        recordings: Sequence[str] | None = None,
    ) -> None:
        """Fit to normal clips.

        Args:
            embeddings: [N, D], or [N, W, D] where windows are not pooled.
            ids: machine ID numbers [N].
            domains: `source`, `target` or empty, [N]; None: no clip has a domain.
            recordings: recording that each clip was cut from [N]; None: each is one of its own.

        Raises:
            InputError: too few clips.

        Example:
            >>> import numpy as np
            >>> from mimii_pl.backend.knn import KNN
            >>> backend = KNN(metric="euclidean")
            >>> backend.fit(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]]), ids=np.array([0, 0, 1]))
            >>> backend.score(np.array([[1.0, 2.0], [9.0, 9.0]]), ids=np.array([0, 1])).tolist()
            [2.0, 0.0]
        """
        if self.standardizes:
            self.cross_fit(embeddings, ids, assign_folds(ids, recordings), domains)
        else:
            self.fit_parts(embeddings, ids, domains)

    def cross_fit(
        self, embeddings: np.ndarray, ids: np.ndarray, folds: np.ndarray, domains: np.ndarray | None = None
    ) -> list[Self]:
        """Fit to all normal clips, and return one copy per fold that is fitted to the clips outside of it.

        Args:
            folds: number of each clip's fold [N], from `assign_folds`.
        """
        if len(ids) < self.least_clips:
            raise too_few(self.name, self.least_clips, "the pool of all machine IDs", len(ids))
        self.fit_parts(embeddings, ids, domains)
        copies = []
        for fold in range(int(folds.max()) + 1):
            kept = folds != fold
            other = self.unfitted()
            other.fit_parts(embeddings[kept], ids[kept], None if domains is None else domains[kept], strict=False)
            copies.append(other)
        if self.standardizes:
            held_out = np.empty((len(self.judges), len(ids)))
            for fold, other in enumerate(copies):
                rows = folds == fold
                held_out[:, rows] = other.judge(embeddings[rows], ids[rows])
            for id_, part in self.parts.items():
                own = ids == id_
                part["scale"] = self._scale(held_out[:, own] if own.sum() >= FEWEST_HELD_OUT else held_out)
                for other in copies:
                    other.parts.setdefault(id_, {})["scale"] = part["scale"]
        return copies

    def fit_parts(
        self, embeddings: np.ndarray, ids: np.ndarray, domains: np.ndarray | None = None, *, strict: bool = True
    ) -> None:
        """Fit one part to all machine IDs, and one to each of them if it scores per machine ID.

        Args:
            strict: too few clips of a machine ID are an error; False: it is scored against all IDs.
        """
        seen = self._seen(embeddings)
        self.parts = {ALL_IDS: self._fit_part(seen, domains, "the pool of all machine IDs")}
        for id_ in np.unique(ids) if self.per_id else ():
            own = ids == id_
            if strict or own.sum() * seen[:1].size // seen.shape[-1] >= self.least:
                of_own = None if domains is None else domains[own]
                self.parts[int(id_)] = self._fit_part(seen[own], of_own, f"machine ID number {id_}")

    def _fit_part(self, embeddings: np.ndarray, domains: np.ndarray | None, whose: str) -> dict[str, np.ndarray]:
        x = _flat(embeddings)
        if domains is not None:
            domains = np.repeat(domains, len(x) // len(embeddings))
        if len(x) < self.least:
            raise too_few(self.name, self.least, whose, len(x))
        if len(x) > self.limit:
            chosen = np.random.default_rng(0).choice(len(x), self.limit, replace=False)
            x, domains = x[chosen], None if domains is None else domains[chosen]
        return self.fit_domains(x, domains)

    def fit_domains(self, x: np.ndarray, domains: np.ndarray | None) -> dict[str, np.ndarray]:
        """Fit a part to normal embeddings [n, D] of these domains [n]; most back ends do not distinguish them."""
        return self.fit_one(x)

    def unfitted(self) -> Self:
        """Return a copy with the same options that is not fitted."""
        other = copy.copy(self)
        other.parts = {}
        return other

    # --- score -------------------------------------------------------------------------------------------------------
    def score(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Compute the anomaly scores [N] of clips from embeddings [N, D], or [N, W, D] where windows are not pooled."""
        scores = self.judge(embeddings, ids)
        if not self.standardizes:
            return scores[0]
        return np.average(self.standardized(scores, ids), axis=0, weights=self.judge_weights)

    def judge(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Compute the scores of each judge, [J, N]; arguments as for `score`."""
        seen = self._seen(embeddings)
        scores = np.empty((len(self.judges), len(seen)), np.float64)
        for id_ in np.unique(ids):
            own = ids == id_
            x = _flat(seen[own])
            for row, scope in enumerate(self.judges):
                part = self._part(int(id_), scope)
                scores[row, own] = self.score_one(part, x).reshape(own.sum(), -1).mean(axis=1)
        return scores

    def _part(self, id_: int, scope: str) -> dict[str, np.ndarray]:
        own = self.parts.get(id_, {}) if scope == OWN_ID else {}
        return own if own.keys() - {"scale"} else self.parts[ALL_IDS]

    def standardized(self, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Standardize the scores of each judge [J, N] by those of normal clips of the same machine ID."""
        if not len(ids):
            return scores
        median, std = np.stack([self.parts.get(int(id_), self.parts[ALL_IDS])["scale"] for id_ in ids], axis=2)
        return (self._logged(scores) - median) / std

    def _scale(self, scores: np.ndarray) -> np.ndarray:
        """Compute the median and standard deviation of each judge's scores [J, N], [2, J]."""
        return median_and_std(self._logged(scores))

    def _logged(self, scores: np.ndarray) -> np.ndarray:
        return np.where(np.array(self.positives)[:, None], log_scores(scores), scores)

    def _seen(self, embeddings: np.ndarray) -> np.ndarray:
        return embeddings if self.view is None or not self.views else embeddings[..., self.views[self.view]]

    # --- store -------------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything `fit` learned, as arrays by name."""
        return {f"{id_}.{name}": array for id_, part in self.parts.items() for name, array in part.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Restore the arrays that `state_dict` returned."""
        self.parts = {}
        for key, array in state.items():
            id_, name = key.split(".")
            self.parts.setdefault(int(id_), {})[name] = array


def log_scores(scores: np.ndarray) -> np.ndarray:
    """Return the logarithm of scores, none of which is below 0; 0 counts as the smallest that is told from it."""
    return np.log(np.maximum(scores, SMALLEST))


def median_and_std(scores: np.ndarray) -> np.ndarray:
    """Compute median and standard deviation over the last axis, [..., N] -> [2, ...]; a deviation of 0 counts as 1."""
    std = scores.std(axis=-1)
    return np.stack([np.median(scores, axis=-1), np.where(std > 0, std, 1)])


def too_few(name: str, least: int, whose: str, count: int) -> InputError:
    """Make the error for a part, or a pool, of fewer embeddings than a back end can be fitted to."""
    return InputError(
        f"backend={name} needs at least {least} embeddings of normal clips, but {whose} has only {count}: set "
        "backend.per_id=false to pool all IDs"
    )


def assign_folds(ids: np.ndarray, recordings: Sequence[str] | None = None, folds: int = FOLDS) -> np.ndarray:
    """Deal the clips of each machine ID to folds, at random and evenly; clips of one recording stay together.

    Args:
        ids: machine ID numbers [N].
        recordings: recording of each clip [N]; None: each is one of its own.
        folds: their number; at most that of the recordings.

    Returns:
        Number of the fold of each clip, [N].
    """
    names = np.arange(len(ids)) if recordings is None else np.unique(np.asarray(recordings), return_inverse=True)[1]
    rng, dealt, at = np.random.default_rng(0), np.full(len(ids), -1), 0
    folds = min(folds, len(np.unique(names)))
    for id_ in np.unique(ids):
        for name in rng.permutation(np.unique(names[ids == id_])):
            own = names == name
            if dealt[own].max() < 0:  # not dealt with another machine ID
                dealt[own] = at % folds
                at += 1
    return dealt


def cross_scores(copies: Sequence[BackEnd], embeddings: np.ndarray, ids: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Score clips [N] each by the copy, of `cross_fit`, that was fitted without its fold [N]."""
    scores = np.empty(len(ids), np.float64)
    for fold in np.unique(folds):
        rows = folds == fold
        scores[rows] = copies[fold].score(embeddings[rows], ids[rows])
    return scores


def pool(embeddings: Tensor, method: Pool, *, gem_power: float = 3.0, rdp_gamma: float = 4.0) -> Tensor:
    """Pool the embeddings of windows, [B, W, D] -> [B, D] (`mean_std`: [B, 2 D]; `none`: unchanged).

    `rdp` weights a window by (1 + d)^gamma, where d is its distance from the mean of the clip's windows relative to the
    largest one (arXiv 2603.04605). Embeddings of whole clips, [B, D], are returned unchanged.
    """
    if embeddings.ndim == 2:
        return embeddings
    pools: dict[str, Any] = {
        "none": lambda x: x,
        "mean": lambda x: x.mean(dim=1),
        "mean_std": lambda x: torch.cat([x.mean(dim=1), x.std(dim=1, correction=0)], dim=1),
        "max": lambda x: x.amax(dim=1),
        "gem": lambda x: x.abs().clamp(min=1e-6).pow(gem_power).mean(dim=1).pow(1 / gem_power),
        "rdp": lambda x: _relative_deviation_pool(x, rdp_gamma),
    }
    return pools[method](embeddings)


def _relative_deviation_pool(x: Tensor, gamma: float) -> Tensor:
    distance = (x - x.mean(dim=1, keepdim=True)).norm(dim=2, keepdim=True)  # [B, W, 1]
    largest = distance.amax(dim=1, keepdim=True)
    weight = (1 + torch.where(largest < 1e-8, 0.0, distance / largest.clamp(min=1e-8))).pow(gamma)
    return (weight * x).sum(dim=1) / weight.sum(dim=1)


def _flat(embeddings: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[-1]), np.float32)
