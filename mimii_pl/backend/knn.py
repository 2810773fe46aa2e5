"""Distance to the nearest normal clips."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimii_pl.backend._backend import BackEnd
from mimii_pl.backend._covariance import ledoit_wolf
from mimii_pl.backend._distance import squared_distance
from mimii_pl.core.errors import InputError

DISTANCES = 2**22  # in memory at a time: 16 MB
OFFSET = 1e-9  # added to what is divided by, or taken the logarithm of
FEWEST_FOR_REGRESSION = 50  # embeddings; fewer give a slope of noise
SMOTE_NEIGHBOURS = 2
_Array = TypeVar("_Array", np.ndarray, Tensor)
UNIT = ("cosine", "chord")  # metrics of embeddings scaled to unit length


class KNN(BackEnd):
    """Mean distance to the k nearest normal training embeddings.

    With local-density normalization (Wilkinghoff, TASLP 2025), the distance to each training clip is first divided by,
    or reduced by, that clip's own mean distance b to its `density_k` nearest training clips. `varmin` (Matsumoto et
    al., DCASE 2025) reduces it by alpha b, where alpha is the slope of the regression of the training clips' own
    nearest distances on b, from 0 to 1; with fewer than 50 clips alpha is 1.

    Args:
        k: number of neighbours.
        metric: `cosine` (1 - cosine similarity, 0 to 2), `chord` (Euclidean, of embeddings scaled to unit length),
            `euclidean`, or `mahalanobis`: Euclidean after whitening by the covariance of the training embeddings
            (Ledoit and Wolf, Journal of Multivariate Analysis, 2004).
        density: `none`, `ratio`, `difference` or `varmin`.
        density_k: number of neighbours of a training clip that estimate the density around it.
        bands: number of equal slices of the embedding, at most that of its values, each with its own nearest neighbour;
            the score is the mean over slices (arXiv 2603.13749).
        mean: how distances are averaged: `arithmetic`, or `geometric`: the mean of their logarithms. `varmin` then
            divides by b to the power of alpha.
        domains: `pooled`: one bank; `min`: one bank of source and one of target clips, each scaled by the median
            distance of its clips to their nearest other, and the score is the smaller one.
        smote: ratio of target to source clips that synthetic target clips, between neighbours, fill up to (Chawla et
            al., JAIR 2002); 0: none.
        **fitting: see `BackEnd`.
    """

    def __init__(
        self,
        *,
        k: int = 1,
        metric: Literal["cosine", "chord", "euclidean", "mahalanobis"] = "cosine",
        density: Literal["none", "ratio", "difference", "varmin"] = "none",
        density_k: int = 4,
        bands: int = 1,
        mean: Literal["arithmetic", "geometric"] = "arithmetic",
        domains: Literal["pooled", "min"] = "pooled",
        smote: float = 0.0,
        **fitting: Any,
    ) -> None:
        super().__init__(**fitting)
        if min(k, density_k, bands) < 1:
            raise InputError(f"backend.k={k}, backend.density_k={density_k}, backend.bands={bands}: at least 1 each")
        if density == "difference" and mean == "geometric":
            raise InputError("backend.density=difference has no logarithm: set backend.mean=arithmetic")
        self.k, self.metric, self.density, self.density_k = k, metric, density, density_k
        self.bands, self.mean, self.domains, self.smote = bands, mean, domains, smote
        self.least = max(k, 2 if density != "none" or metric == "mahalanobis" else 1)
        self.positive = mean == "geometric" or density in ("none", "ratio")

    # --- fit ---------------------------------------------------------------------------------------------------------
    def fit_domains(self, x: np.ndarray, domains: np.ndarray | None) -> dict[str, np.ndarray]:
        if self.domains == "pooled" and not self.smote:
            return self.fit_one(x)
        if domains is None or not np.isin(domains, ("source", "target")).any():
            option = f"backend.domains={self.domains}" if self.domains == "min" else f"backend.smote={self.smote:g}"
            raise InputError(f"{option} needs clips of source and target domain, and this data set names no domains")
        source, target = x[domains != "target"], x[domains == "target"]
        if self.smote:
            target = _oversampled(target, round(self.smote * len(source)))
        if self.domains == "pooled":
            return self.fit_one(np.concatenate([source, target]))
        part: dict[str, np.ndarray] = {}
        for name, of_domain in (("source", source), ("target", target)):
            if len(of_domain) >= max(2, self.least):
                bank = self.fit_one(of_domain)
                own = self._averaged(self._nearest(bank["bank"], bank, self.k, others=True)[0])
                bank["reach"] = np.array(np.median(own) + OFFSET)
                part |= {f"{name}_{key}": array for key, array in bank.items()}
        return part or self.fit_one(x)

    def fit_one(self, x: np.ndarray) -> dict[str, np.ndarray]:
        part: dict[str, np.ndarray] = {}
        if self.metric == "mahalanobis":
            part["whiten"] = self._whitening(x)
            x = x @ part["whiten"]
        part["bank"] = x
        if self.density != "none":
            nearest, rows = self._nearest(x, part, self.density_k, others=True)
            spread = nearest.mean(axis=2)  # [bands, n]
            part |= {"spread": spread, "alpha": self._slopes(nearest[..., 0], spread, rows)}
        return part

    def _whitening(self, x: np.ndarray) -> np.ndarray:
        """Compute the matrix that gives each band of x [n, D] unit covariance, [D, D]."""
        whiten = np.zeros((x.shape[1], x.shape[1]), np.float32)
        for columns in np.array_split(np.arange(x.shape[1]), min(self.bands, x.shape[1])):
            values, vectors = np.linalg.eigh(ledoit_wolf(x[:, columns].astype(np.float64))[0])
            floor = max(values.max() * 1e-9, 1e-12)
            whiten[np.ix_(columns, columns)] = vectors / np.sqrt(np.maximum(values, floor))
        return whiten

    def _slopes(self, nearest: np.ndarray, spread: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Compute alpha for each band from nearest distances, the rows of these neighbours and b, all [bands, n]."""
        if self.density != "varmin" or nearest.shape[1] < FEWEST_FOR_REGRESSION:
            return np.ones(len(nearest))
        b = np.take_along_axis(spread, rows, axis=1)
        if self.mean == "geometric":
            nearest, b = np.log(nearest + OFFSET), np.log(b + OFFSET)
        b = b - b.mean(axis=1, keepdims=True)
        covariance, variance = (b * nearest).mean(axis=1), np.square(b).mean(axis=1)
        return np.clip(np.divide(covariance, variance, out=np.ones(len(b)), where=variance > 0), 0, 1)

    # --- score -------------------------------------------------------------------------------------------------------
    def score_one(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        banks = [_prefixed(part, name) for name in ("source", "target") if f"{name}_bank" in part]
        if not banks:
            return self._mean_distance(part, x)
        return np.min([self._mean_distance(bank, x) / bank["reach"] for bank in banks], axis=0)

    def tensor_score(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        banks = [_prefixed(part, name) for name in ("source", "target") if f"{name}_bank" in part]
        if not banks:
            return self._tensor_distance(part, x)
        return torch.stack([self._tensor_distance(bank, x) / bank["reach"] for bank in banks]).amin(dim=0)

    def _tensor_distance(self, part: Mapping[str, Tensor], x: Tensor) -> Tensor:
        queries = self._slices(x @ part["whiten"] if "whiten" in part else x)
        smallest = []
        for band, (of_band, stored) in enumerate(zip(queries, self._slices(part["bank"]), strict=True)):
            density = (part["spread"][band], part["alpha"][band]) if "spread" in part else None
            distance = self._normalized(self._distance(of_band, stored), density)
            smallest.append(distance.topk(min(self.k, len(stored)), dim=1, largest=False).values)
        mean = torch.stack(smallest).double().mean(dim=(0, 2))
        return mean.exp() if self.mean == "geometric" else mean

    def _mean_distance(self, part: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self._averaged(self._nearest(x @ part["whiten"] if "whiten" in part else x, part, self.k)[0])

    def _averaged(self, smallest: np.ndarray) -> np.ndarray:
        """Average the smallest distances [bands, n, k] over neighbours and bands, [n]."""
        mean = smallest.mean(axis=(0, 2), dtype=np.float64)
        return np.exp(mean) if self.mean == "geometric" else mean

    def _nearest(
        self, x: np.ndarray, part: dict[str, np.ndarray], k: int, *, others: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k smallest (normalized) distances from each of x [n, D] to the bank, in each band.

        Args:
            others: x is the bank, and a clip is not its own neighbour.

        Returns:
            The distances [bands, n, k], and the row of the nearest one in the bank [bands, n].
        """
        bank = part["bank"]
        stored, k = self._slices(self._tensor(bank)), min(k, len(bank) - 1 if others else len(bank))
        distances = np.empty((len(stored), len(x), k), np.float32)  # allocated once: no fragmented heap
        nearest = np.empty((len(stored), len(x)), int)
        step = max(1, DISTANCES // len(bank))
        densities = self._densities(part, len(stored))
        for at in range(0, len(x), step):
            rows = slice(at, min(at + step, len(x)))
            queries = self._slices(self._tensor(x[rows]))
            for band, (of_queries, of_bank) in enumerate(zip(queries, stored, strict=True)):
                distance = self._normalized(self._distance(of_queries, of_bank), densities[band])
                if others:
                    distance[torch.arange(len(of_queries)), torch.arange(at, rows.stop)] = torch.inf
                smallest = distance.topk(k, dim=1, largest=False)
                distances[band, rows] = smallest.values.cpu().numpy()
                nearest[band, rows] = smallest.indices[:, 0].cpu().numpy()
        return distances, nearest

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.device)

    def _slices(self, x: Tensor) -> list[Tensor]:
        """Split embeddings [n, D] into bands, of unit length where the metric asks for it."""
        bands = torch.tensor_split(x, min(self.bands, x.shape[1]), dim=1)
        return [F.normalize(band, dim=1) for band in bands] if self.metric in UNIT else list(bands)

    def _distance(self, queries: Tensor, stored: Tensor) -> Tensor:
        """Compute the distance of each query [n, D] to each stored embedding [M, D], [n, M]."""
        if self.metric == "cosine":
            return squared_distance(queries, stored) / 2
        if self.metric == "chord" or torch.compiler.is_exporting():  # ONNX has no operator for the other way
            return squared_distance(queries, stored).sqrt_()
        return torch.cdist(queries, stored, compute_mode="donot_use_mm_for_euclid_dist")

    def _densities(self, part: dict[str, np.ndarray], bands: int) -> list[tuple[Tensor, Tensor] | None]:
        """Return b of each stored embedding [M] and alpha, for each band; None while the density is being estimated."""
        if "spread" not in part:
            return [None] * bands
        return list(zip(self._tensor(part["spread"]), self._tensor(part["alpha"]), strict=True))

    def _normalized(self, distance: Tensor, density: tuple[Tensor, Tensor] | None) -> Tensor:
        """Normalize distances [n, M] by the density around each stored embedding; logarithms for the geometric mean."""
        if self.density == "none":
            return (distance + OFFSET).log_() if self.mean == "geometric" else distance
        if density is None:
            return distance
        spread, alpha = density
        if self.mean == "geometric":
            return (distance + OFFSET).log_() - alpha * (spread + OFFSET).log()
        return distance / (spread + OFFSET) if self.density == "ratio" else distance - alpha * spread


def _prefixed(part: Mapping[str, _Array], name: str) -> dict[str, _Array]:
    return {key.removeprefix(f"{name}_"): array for key, array in part.items() if key.startswith(f"{name}_")}


def _oversampled(x: np.ndarray, count: int) -> np.ndarray:
    """Add embeddings between neighbours until there are `count`, [n, D] -> [max(n, count), D]."""
    if len(x) < 2 or count <= len(x):
        return x
    rng, distance = np.random.default_rng(0), np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    neighbours = np.argsort(distance, axis=1)[:, : min(SMOTE_NEIGHBOURS, len(x) - 1)]
    first = rng.integers(len(x), size=count - len(x))
    second = neighbours[first, rng.integers(neighbours.shape[1], size=len(first))]
    share = rng.uniform(size=(len(first), 1)).astype(x.dtype)
    return np.concatenate([x, x[first] + share * (x[second] - x[first])])
