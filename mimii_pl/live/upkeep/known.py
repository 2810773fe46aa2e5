"""The clips that a run knows, with the embeddings that its back end was fitted to."""

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from mimii_pl.backend import BackEnd
from mimii_pl.core.config import build_data
from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import read_arrays
from mimii_pl.core.foreign import printable
from mimii_pl.core.stored_config import keep_offline
from mimii_pl.dataset import ClipRows
from mimii_pl.dataset._channels import split_channel
from mimii_pl.dataset._clip import clip_name, split_name
from mimii_pl.scoring.scorer import Scorer

log = logging.getLogger(__name__)


class _Files:
    """Clips that are read from their files when they are indexed by rows."""

    def __init__(self, scorer: Scorer, names: list[str]) -> None:
        self.scorer, self.names = scorer, names

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.stack([self.scorer.read(Path(self.names[row])).wave for row in rows])


def named_waves(scorer: Scorer, names: list[str]) -> ClipRows:
    """Return clips by their names, int16 [N, samples], each read from its file when it is indexed."""
    files: Any = _Files(scorer, names)
    return ClipRows(files, np.arange(len(names)))


class KnownClips(NamedTuple):
    """N clips of a run: what it learned from, and its test clips.

    Attributes:
        names: of the clips, as tables name them.
        labels: `<machine>/<id>` of each.
        split: `train`, `validation` or `test` [N].
        domains: [N]; empty: none.
        recordings: that each was cut from.
        rpm: [N] in revolutions per minute; NaN: unknown.
        means: embeddings averaged over windows [N, D].
    """

    names: list[str]
    labels: list[str]
    split: np.ndarray
    domains: np.ndarray
    recordings: list[str]
    rpm: np.ndarray
    means: np.ndarray

    def of(self, rows: np.ndarray) -> "KnownClips":
        """Select clips by a mask, or by their numbers."""
        rows = np.arange(len(self.names))[rows]
        lists = [[own[row] for row in rows] for own in (self.names, self.labels, self.recordings)]
        return KnownClips(
            lists[0], lists[1], self.split[rows], self.domains[rows], lists[2], self.rpm[rows], self.means[rows]
        )

    def joined(self, other: "KnownClips") -> "KnownClips":
        """Append other clips."""
        return KnownClips(
            self.names + other.names,
            self.labels + other.labels,
            np.concatenate([self.split, other.split]),
            np.concatenate([self.domains, other.domains]),
            self.recordings + other.recordings,
            np.concatenate([self.rpm, other.rpm]),
            np.concatenate([self.means, other.means]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them as the arrays of `embeddings.npz`."""
        machines, ids = zip(*(label.split("/", 1) for label in self.labels), strict=True)
        texts: dict[str, Any] = {"split": self.split, "machine": machines, "machine_id": ids, "path": self.names}
        texts |= {"domain": self.domains, "recording": self.recordings}
        return {"embedding": self.means, **{name: np.array(own, str) for name, own in texts.items()}, "rpm": self.rpm}


def known_clips(run_dir: Path, scorer: Scorer, cfg: DictConfig) -> KnownClips:
    """Read the clips of a run with its embeddings; if they are not stored, compute them from its data set.

    Args:
        cfg: configuration of the run, whose classes are trusted.

    Raises:
        InputError: they are damaged, or neither they nor the data set are there.
    """
    path = run_dir / "embeddings.npz"
    if not os.path.lexists(path):
        return _of_data(run_dir, scorer, cfg)
    kept = read_arrays(path)
    with damaged(path):
        names, machines, ids = (kept[name].astype(str).tolist() for name in ("path", "machine", "machine_id"))
        split, means = kept["split"].astype(str), kept["embedding"]
        if not len(names) == len(machines) == len(ids) == len(split) == len(means) or means.ndim != 2:
            raise ValueError("its arrays have different lengths")
        labels = [f"{machine}/{id_}" for machine, id_ in zip(machines, ids, strict=True)]
        domains = kept.get("domain", np.full(len(names), "")).astype(str)
        own = [file_of(name) for name in names]  # of runs that did not store them
        recordings = kept["recording"].astype(str).tolist() if "recording" in kept else own
        rpm = kept.get("rpm", np.full(len(names), np.nan)).astype(float)
        return KnownClips(names, labels, split, domains, recordings, rpm, means)


def _of_data(run_dir: Path, scorer: Scorer, cfg: DictConfig) -> KnownClips:
    log.info("%s has no embeddings.npz: its clips are embedded again", run_dir)
    try:
        keep_offline(cfg)
        data = build_data(cfg)
        data.prepare_data()
        data.setup()
    except InputError as error:
        raise InputError(
            f"run={run_dir}: the embeddings it learned from are not stored with it, and its data set, to compute them "
            f"again, is gone ({error}). Bring back {cfg.dataset.root}, or give a copy of the run with embeddings.npz"
        ) from None
    rows = np.concatenate([data.rows(split) for split in ("train", "validation", "test")])
    clips = [data.clips[row] for row in rows]
    outputs = scorer.pass_waves(ClipRows(data.waves, rows), data.machine_id[rows], ["embedding"], "embedding clips")
    assert outputs.embedding is not None
    texts = [[str(getattr(clip, name)) for clip in clips] for name in ("name", "label", "split", "domain", "recording")]
    rpm = np.array([data.rpm_of(row) or np.nan for row in rows])
    names, labels, split, domains, recordings = texts
    return KnownClips(names, labels, np.array(split), np.array(domains), recordings, rpm, outputs.embedding)


def file_of(name: str) -> str:
    """Return the file that a clip is a part of, or a channel of."""
    return str(split_channel(split_name(name)[0])[0])


def recording_of(name: str) -> str:
    """Return the name of a clip without its channel."""
    path, start = split_name(name)
    return clip_name(split_channel(path)[0], start)


def owners_of(names: Sequence[str], *, fused: bool) -> list[str]:
    """Return the recording whose score the scores of clips are fused to; the clip itself unless they are `fused`."""
    return [recording_of(name) for name in names] if fused else list(names)


def present(names: list[str]) -> np.ndarray:
    """Return whether the file of each clip is still there, [N] bool."""
    return np.array([os.path.isfile(file_of(name)) for name in names], bool)


def pooled(scorer: Scorer, backend: BackEnd, names: list[str], ids: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return embeddings of clips as a back end is fitted to them: of windows pooled otherwise, computed again.

    Args:
        means: averaged over windows [N, D].

    Returns:
        [N, D], or [N, W, D] where windows are not pooled: as many as the machine ID with the fewest clips needs.

    Raises:
        InputError: a recording that has to be heard again is gone.
    """
    if backend.pool == "mean":
        return means
    gone = [name for name, there in zip(names, present(names), strict=True) if not there]
    if gone:
        raise InputError(
            f"backend.pool={backend.pool}: the stored embeddings are means over windows, so {len(names)} clips have to "
            f"be heard again, and {len(gone)} are gone: {printable(gone[0])}. Bring them back, or update a run with "
            "backend.pool=mean"
        )
    windows = math.ceil(backend.limit / np.unique(ids, return_counts=True)[1].min())
    return scorer.embed_waves(named_waves(scorer, names), ids, "embedding clips", windows)
