"""Pseudo-anomalies among embeddings: an objective that needs neither faults nor test labels.

They are of four kinds: features drawn from different normal clips, and normal clips of another machine ID, another
domain or another attribute. After "Diverse" of a 2026 preprint on predicting the performance of detectors without
anomalies.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mimii_pl.backend import BackEnd
from mimii_pl.scoring.metrics import arithmetic_mean, auc


class Embedded(NamedTuple):
    """Embeddings of normal clips with their metadata.

    Attributes:
        x: [N, D], or [N, W, D] where windows are not pooled.
        ids: machine ID numbers [N].
        groups: by name (`domain`, or an attribute), its value for each clip [N]; empty: unknown.
    """

    x: np.ndarray
    ids: np.ndarray
    groups: dict[str, np.ndarray]

    def of(self, rows: np.ndarray) -> "Embedded":
        """Select clips by a mask or by their numbers."""
        return Embedded(self.x[rows], self.ids[rows], {name: values[rows] for name, values in self.groups.items()})


def mean_diverse_auc(backend: BackEnd, normal: Embedded, parts: Iterable[Sequence[np.ndarray]]) -> float:
    """Return the mean of `diverse_auc` over (rows to fit, rows to hold out), each with a copy of the back end."""
    values = []
    for fitted, held_out in parts:
        again, bank = copy.deepcopy(backend), normal.of(fitted)
        domains = bank.groups.get("domain")
        again.fit(bank.x, bank.ids, domains if domains is not None and domains.any() else None)
        values.append(diverse_auc(again, bank, normal.of(held_out)))
    return arithmetic_mean(values)


def diverse_auc(backend: BackEnd, bank: Embedded, held_out: Embedded) -> float:
    """Return the mean over machine IDs, of the mean over kinds, of the AUC of held-out clips against pseudo-anomalies.

    Args:
        backend: fitted on the bank. Copies of it are fitted on parts of the bank for other domains and attributes.
        bank: training clips.
        held_out: normal clips that the back end was not fitted on.
    """
    values = []
    for id_ in np.unique(held_out.ids):
        own = held_out.of(held_out.ids == id_)
        normal = backend.score(own.x, own.ids)
        kinds = [_auc(normal, backend.score(x, np.full(len(x), id_))) for x in _strange(bank, held_out, int(id_))]
        kinds += [_auc(*scores) for scores in _left_out(backend, bank, own)]
        values.append(arithmetic_mean(kinds))
    return arithmetic_mean(values)


def _strange(bank: Embedded, held_out: Embedded, id_: int) -> Iterator[np.ndarray]:
    """Yield clips whose features come from different clips of a machine ID, then clips of the other machine IDs."""
    own = bank.x[bank.ids == id_]
    count = max(1, (held_out.ids == id_).sum())
    yield shuffled_features(own, count, np.random.default_rng(id_))
    if len(others := held_out.x[held_out.ids != id_]):
        yield others


def shuffled_features(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw each feature of `count` embeddings from an embedding of its own, [count, D] or [count, W, D]."""
    flat = x.reshape(len(x), -1)
    rows = rng.integers(len(flat), size=(count, flat.shape[1]))
    return np.take_along_axis(flat, rows, axis=0).reshape(count, *x.shape[1:])


def _left_out(backend: BackEnd, bank: Embedded, own: Embedded) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the scores of held-out clips of a group, and those of all others, by a bank of that group; of one ID."""
    id_ = own.ids[0]
    for name, values in own.groups.items():
        for value in np.unique(values):
            part = bank.of((bank.groups[name] == value) & (bank.ids == id_))
            inside = values == value
            if value and inside.any() and not inside.all() and len(part.x) >= max(2, backend.least):
                again = copy.deepcopy(backend)
                again.fit(part.x, part.ids)
                yield again.score(own.x[inside], own.ids[inside]), again.score(own.x[~inside], own.ids[~inside])


def _auc(normal: np.ndarray, strange: Sequence[float] | np.ndarray) -> float:
    return auc(np.repeat([0, 1], [len(normal), len(strange)]), np.concatenate([normal, strange]))
