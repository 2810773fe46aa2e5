"""A scorer as one module of torch: waveform and machine ID in, score, embedding and error map out."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import ALL_IDS, OWN_ID, SMALLEST, pool
from mimii_pl.backend.committee import Committee
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.scoring.scorer import Scorer


class ScoringGraph(nn.Module):
    """All that a `Scorer` computes, made of the objects that it calls: features, detector, pooling and back end.

    Args:
        scorer: on the CPU.

    Attributes:
        outputs: names of what `forward` returns: `score`, and `embedding` and `error_map` where the detector has them.

    Raises:
        InputError: it is of a classifier, or its detector or back end cannot be exported.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        if scorer.classes is not None:
            raise InputError("a classifier (task=classification) has no anomaly score to export")
        if not scorer.detector.exportable:
            raise InputError(
                f"model={scorer.detector.name} cannot be exported: its score is no fixed sequence of operations on "
                "tensors. Train one whose score is, for example model=committee, or f_anogan in place of anogan"
            )
        self.features, self.detector = scorer.features, scorer.detector
        self.options = scorer.backend
        self.backend = None if scorer.backend is None else BackEndGraph(scorer.backend, len(scorer.labels))
        self.outputs = ["score"]
        self.outputs += [name for name, method in _METHODS.items() if scorer.detector.supports(method)]

    def forward(self, wave: Tensor, machine_id: Tensor) -> tuple[Tensor, ...]:
        """Score clips.

        Args:
            wave: [B, T] in full scale 1.
            machine_id: [B], int64; -1: not seen in training.

        Returns:
            What `outputs` names: scores [B], embeddings [B, D] ([B, W, D] if the back end scores every window), squared
            errors [B, F, N]; float32.
        """
        unknown = torch.full_like(machine_id, -1)
        batch = Batch(wave, machine_id, anomalous=unknown, clip=unknown, spec=self.features(wave))
        found: dict[str, Tensor] = {}
        with self.detector.one_pass():
            if "embedding" in self.outputs:
                found["embedding"] = self._pooled(self.detector.embed(batch))
            if "error_map" in self.outputs:
                found["error_map"] = self.detector.error_map(batch)
            if self.backend is None:
                found["score"] = self.detector.score(batch)
            else:
                found["score"] = self.backend(found["embedding"], machine_id)
        return tuple(found[name].float() for name in self.outputs)

    def _pooled(self, embeddings: Tensor) -> Tensor:
        if self.options is None:
            return pool(embeddings, "mean")
        return pool(embeddings, self.options.pool, gem_power=self.options.gem_power, rdp_gamma=self.options.rdp_gamma)


_METHODS = {"embedding": "embed", "error_map": "error_map"}  # output -> method of a detector


class BackEndGraph(nn.Module):
    """A fitted back end as a module: embeddings [B, D] or [B, W, D] and machine IDs [B] -> scores [B].

    Each clip is scored by the parts of all machine IDs, and the score of its own is taken.

    Args:
        backend: fitted.
        n_ids: number of machine IDs.

    Raises:
        InputError: it cannot be exported.
    """

    positive: Tensor  # [J, 1] whether a judge is standardized in logarithms
    share: Tensor  # [J] weight of each judge; their sum is 1
    scale: Tensor  # [n_ids + 1, 2, J] median and standard deviation of each judge; the last is of unknown IDs

    def __init__(self, backend: BackEnd, n_ids: int) -> None:
        super().__init__()
        self.backend, self.n_ids = backend, n_ids
        self.judges = nn.ModuleList(JudgeGraph(*judge, n_ids) for judge in _judges(backend))
        self.register_buffer("positive", torch.tensor(backend.positives)[:, None])
        if backend.standardizes:
            parts = [backend.parts.get(id_, backend.parts[ALL_IDS]) for id_ in (*range(n_ids), ALL_IDS)]
            self.register_buffer("scale", torch.from_numpy(np.stack([part["scale"] for part in parts])))
            weights = torch.tensor(backend.judge_weights or [1.0] * len(backend.judges), dtype=torch.float64)
            self.register_buffer("share", weights / weights.sum())

    def forward(self, embeddings: Tensor, machine_id: Tensor) -> Tensor:
        """Score clips; arguments as for `BackEnd.score`."""
        number = torch.where(machine_id >= 0, machine_id, self.n_ids)
        scores = torch.stack([judge(embeddings, number) for judge in self.judges])  # [J, B]
        if not self.backend.standardizes:
            return scores[0]
        logged = torch.where(self.positive, scores.clamp(min=SMALLEST).log(), scores)
        median, std = self.scale[number].unbind(dim=1)  # [B, J]
        return ((logged.T - median) / std * self.share).sum(dim=1)


class JudgeGraph(nn.Module):
    """One judge of a back end: embeddings and positions of machine IDs -> its scores [B], float64.

    Args:
        backend: whose `tensor_score` scores.
        scope: `own ID` or `all IDs`.
        n_ids: number of machine IDs; position `n_ids` is that of unknown ones.
    """

    place: Tensor  # [n_ids + 1] place of the part that scores each machine ID

    def __init__(self, backend: BackEnd, scope: str, n_ids: int) -> None:
        super().__init__()
        self.backend = backend
        ids = [id_ for id_ in range(n_ids) if scope == OWN_ID and backend.parts.get(id_, {}).keys() - {"scale"}]
        self.names: list[list[str]] = []
        for place, id_ in enumerate((*ids, ALL_IDS)):
            part = backend.tensor_part(backend.parts[id_])
            self.names.append(list(part))
            for name, array in part.items():
                self.register_buffer(f"{place}_{name}", torch.from_numpy(np.array(array)))
        place_of = {id_: place for place, id_ in enumerate(ids)}
        self.register_buffer("place", torch.tensor([place_of.get(id_, len(ids)) for id_ in range(n_ids + 1)]))

    def forward(self, embeddings: Tensor, number: Tensor) -> Tensor:
        """Score embeddings [B, D] or [B, W, D] of machine IDs at these positions [B]."""
        view = self.backend.view
        seen = embeddings if view is None or not self.backend.views else embeddings[..., self.backend.views[view]]
        flat = seen.flatten(0, -2)
        scores = torch.stack([self._of_part(place, flat) for place in range(len(self.names))], dim=1)  # [B W, parts]
        per_clip = scores.unflatten(0, (seen.shape[0], -1)).mean(dim=1)
        return per_clip.gather(1, self.place[number][:, None])[:, 0]

    def _of_part(self, place: int, x: Tensor) -> Tensor:
        part = {name: self.get_buffer(f"{place}_{name}") for name in self.names[place]}
        return self.backend.tensor_score(part, x).double()


def _judges(backend: BackEnd) -> Iterator[tuple[BackEnd, str]]:
    """Yield each judge in the order of `BackEnd.judges`: the back end that scores, and its scope."""
    if isinstance(backend, Committee):
        for member in backend.members.values():
            yield from _judges(member)
    else:
        yield from ((backend, scope) for scope in backend.judges)
