"""Several back ends that judge a clip together."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch

from mimii_pl.backend._backend import ALL_IDS, BackEnd, Pool
from mimii_pl.backend.knn import KNN
from mimii_pl.backend.mahalanobis import Mahalanobis
from mimii_pl.core.errors import InputError


class Committee(BackEnd):
    """Mean of the standardized scores of several back ends.

    Each member is standardized by the cross-validated scores of normal clips of the same machine ID (see `BackEnd`), so
    that no label and no tuning enters the score. Single judges win on one machine and lose on the next; the mean of
    different ones (shape of the spectrum, level of bands, rhythm; own ID, all IDs) is near the best everywhere.

    Members that use a `view` use the whole embedding of a detector that has no views, and members that thereby become
    equal to an earlier one are left out.

    Args:
        members: name -> back end, or None for one that is left out; None: those of `conf/backend/committee.yaml`.
        weights: name -> weight of the member in the mean, above 0; those not named, and None: 1. Chosen with labelled
            faults (`mimii update`), they are an oracle.
        pool: see `BackEnd`, as `gem_power` and `rdp_gamma`; windows are pooled before any member sees them.
        gem_power: see `BackEnd`.
        rdp_gamma: see `BackEnd`.
    """

    def __init__(
        self,
        *,
        members: dict[str, Any] | None = None,
        weights: dict[str, float] | None = None,
        pool: Pool = "mean",
        gem_power: float = 3.0,
        rdp_gamma: float = 4.0,
    ) -> None:
        super().__init__(pool=pool, gem_power=gem_power, rdp_gamma=rdp_gamma)
        chosen = default_members() if members is None else members
        self.members: dict[str, BackEnd] = {name: member for name, member in chosen.items() if member is not None}
        if not self.members:
            raise InputError("backend.members: a committee needs at least one member")
        nested = [name for name, member in self.members.items() if isinstance(member, Committee)]
        if nested:
            raise InputError(f"backend.members.{nested[0]}: a committee cannot be a member of another")
        self.least = max(member.least for member in self.members.values())
        self.weights = dict(weights or {})
        for name, weight in self.weights.items():
            if name not in chosen or not 0 < weight < math.inf:
                names = ", ".join(chosen)
                raise InputError(f"backend.weights.{name}={weight}: a number above 0 for one of {names}")
        for name in self.members:
            if not name.isidentifier():
                raise InputError(f"backend.members.{name}: should be a word of letters, digits and underscores")

    @property
    def judges(self) -> list[str]:
        return [f"{name}, {judge}" for name, member in self.members.items() for judge in member.judges]

    @property
    def judge_weights(self) -> list[float] | None:
        own = [self.weights.get(name, 1.0) for name, member in self.members.items() for _ in member.judges]
        return own if len(set(own)) > 1 else None

    @property
    def first_view(self) -> str | None:
        return next(iter(self.members.values())).view

    @property
    def standardizes(self) -> bool:
        return True

    @property
    def positives(self) -> list[bool]:
        return [positive for member in self.members.values() for positive in member.positives]

    def prepare(self, views: Mapping[str, slice], device: torch.device) -> None:
        self.views, self.device = views, device
        for name, member in list(self.members.items()):
            if not views:
                member.view = None
            if any(_covers(earlier, member) for earlier in self._before(name)):
                del self.members[name]
            else:
                member.prepare(views, device)

    def _before(self, name: str) -> list[BackEnd]:
        names = list(self.members)
        return [self.members[earlier] for earlier in names[: names.index(name)]]

    def fit_parts(
        self, embeddings: np.ndarray, ids: np.ndarray, domains: np.ndarray | None = None, *, strict: bool = True
    ) -> None:
        for member in self.members.values():
            member.fit_parts(embeddings, ids, domains, strict=strict)
        self.parts = {int(id_): {} for id_ in (ALL_IDS, *np.unique(ids))}

    def unfitted(self) -> Self:
        other = super().unfitted()
        other.members = {name: member.unfitted() for name, member in self.members.items()}
        return other

    def judge(self, embeddings: np.ndarray, ids: np.ndarray) -> np.ndarray:
        return np.concatenate([member.judge(embeddings, ids) for member in self.members.values()])

    def state_dict(self) -> dict[str, np.ndarray]:
        state = super().state_dict()
        for name, member in self.members.items():
            state |= {f"{name}.{key}": array for key, array in member.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        of_members: dict[str, dict[str, np.ndarray]] = {name: {} for name in self.members}
        own = {}
        for key, array in state.items():
            owner, _, rest = key.partition(".")
            if owner in of_members:
                of_members[owner][rest] = array
            else:
                own[key] = array
        super().load_state_dict(own)
        for name, arrays in of_members.items():
            self.members[name].load_state_dict(arrays)


def default_members() -> dict[str, BackEnd | None]:
    """Make the members of `conf/backend/committee.yaml`."""
    return {
        "shape": KNN(view="mel_db", metric="mahalanobis", per_id="both"),
        "amplitude_shape": KNN(view="mel_amplitude", metric="mahalanobis", per_id=False),
        "bands": KNN(view="mel_db", density="ratio", bands=4, mean="geometric", per_id=False),
        "amplitude": KNN(view="mel_amplitude", density="ratio", per_id=False),
        "rhythm": Mahalanobis(view="modulation", per_id=False),
    }


def _covers(earlier: BackEnd, member: BackEnd) -> bool:
    """Return True if a member judges as an earlier one does; neither is fitted."""
    ignored = ("parts", "device", "views", "per_id", "least")
    one, other = ({name: x for name, x in vars(end).items() if name not in ignored} for end in (earlier, member))
    return type(earlier) is type(member) and one == other and earlier.per_id in ("both", member.per_id)
