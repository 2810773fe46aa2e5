"""Load a run directory as a `Scorer`. A stranger may have written it: nothing is unpickled, and no code is run."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from mimii_pl.backend import BackEnd
from mimii_pl.backend._backend import ALL_IDS
from mimii_pl.core.check import check, parameters
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError, damaged, first_line
from mimii_pl.core.files import read_arrays, require_stored
from mimii_pl.core.run_dir import MEMBERS, check_digests, find_run, read_facts, refuse_fused
from mimii_pl.core.stored_config import read_config
from mimii_pl.core.trusted_classes import FUSED, trust_classes
from mimii_pl.dataset._channels import ALL_CHANNELS, FUSIONS
from mimii_pl.features import Spectral, Statistics
from mimii_pl.model import Detector
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.fused_scorer import FusedScorer
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.threshold import Thresholds

BUILT = ("model", "features", "backend")  # what a scorer is built from
LONGEST = 2**28  # samples of a clip: 4.6 hours at 16 kHz


def load_run(run_dir: str | Path, *, device: str = "auto", trust: Collection[str] = ()) -> BaseScorer:
    """Load a run directory as a scorer: a `Scorer`, or a `FusedScorer` of several.

    Args:
        run_dir: directory of a finished run, or `latest`.
        device: `auto` takes a GPU if there is one.
        trust: packages, besides this one, whose classes the run's configuration may name: that of your own detectors.

    Raises:
        InputError: there is no such run or device, a file is damaged, or the run names a class that is not trusted.
    """
    run_dir = find_run(run_dir)
    cfg, facts = read_config(run_dir), read_facts(run_dir)
    if FUSED not in cfg and "members" not in facts:
        return load_detector(run_dir, device=device, trust=trust)
    trust_classes(cfg, trust)
    with damaged(run_dir / "config.yaml"):
        weights, soft = _weights(cfg, facts.get("members", [])), cfg[FUSED].get("soft", False)
        if type(soft) is not bool:
            raise ValueError(f"fused.soft is {soft}")
    check_digests(run_dir)
    members = {}
    for name in weights:
        refuse_fused(run_dir / MEMBERS / name, "A fused run cannot be a member")
        members[name] = load_detector(run_dir / MEMBERS / name, device=device, trust=trust)
    try:
        scorer = FusedScorer(members, weights, soft=soft)
    except InputError as error:
        raise InputError(f"{run_dir}: {error}") from None
    if os.path.lexists(path := run_dir / "thresholds.json"):
        scorer.thresholds = Thresholds.read(path, scorer.labels)
    return scorer


def _weights(cfg: DictConfig, names: list[str]) -> dict[str, float]:
    """Return the weights of the members of a fused run."""
    weights = {str(name): member["weight"] for name, member in cfg[FUSED].members.items()}
    if list(weights) != names:
        raise ValueError(f"its members are {', '.join(weights)}, those of run.json {', '.join(names)}")
    if not all(type(weight) in (int, float) and 0 < weight < math.inf for weight in weights.values()):
        raise ValueError(f"its weights are {list(weights.values())}")
    return weights


def load_detector(run_dir: Path, *, device: str = "auto", trust: Collection[str] = ()) -> Scorer:
    """Load the directory of a run of a detector as a `Scorer`; arguments and errors as for `load_run`."""
    device = _usable(device)
    cfg, facts = read_config(run_dir), read_facts(run_dir)
    classes = trust_classes(cfg, trust)
    with damaged(run_dir / "config.yaml"):
        check(OmegaConf.create({place: cfg[place] for place in BUILT if place in classes}))
        rate, batch_size = int(cfg.dataset.sample_rate), int(cfg.dataset.batch_size)
        channel: Any = cfg.dataset.channel
        full_scale = float(cfg.dataset.get("full_scale", 1.0))  # runs of before have none
        fusion: Any = cfg.dataset.get("fuse_channels", "mean")
        wrong_channel = (type(channel) is not int and channel not in ("mean", ALL_CHANNELS)) or fusion not in FUSIONS
        if rate < 1 or batch_size < 1 or wrong_channel or not 0 < full_scale < math.inf:
            raise ValueError(
                f"dataset.sample_rate={rate}, dataset.batch_size={batch_size}, dataset.channel={channel}, "
                f"dataset.full_scale={full_scale}"
            )
        features = build(cfg.features)
    with damaged(run_dir / "run.json"):
        root = facts.get("root", cfg.dataset.root)
        labels, samples, checkpoint = facts["labels"], facts["samples"], run_dir / facts["checkpoint"]
        if samples > LONGEST:
            raise ValueError(f"samples is {samples}")
    with damaged(run_dir / "config.yaml"):
        shape = features.shape(samples)
        machine_ids = classes["dataset"].machine_ids(labels, {**cfg.dataset, "root": root})  # type: ignore[attr-defined]  # MachineSounds
    detector = _detector(classes["model"], checkpoint)
    _restore_statistics(features, run_dir)
    if tuple(detector.hparams.get("in_shape", ())) not in ((), shape):
        raise InputError(
            f"{run_dir / 'config.yaml'} is damaged: its features are {shape} (channels, bins, frames), "
            f"but its detector takes {tuple(detector.hparams.in_shape)}"
        )
    scorer = Scorer(
        detector,
        features,
        labels=labels,
        classes=facts.get("classes"),
        sample_rate=rate,
        samples=samples,
        channel=channel,
        fusion=fusion,
        full_scale=full_scale,
        batch_size=batch_size,
        device=device,
        machine_ids=machine_ids,
    )
    state = run_dir / "backend.npz"
    if os.path.lexists(state) or (cfg.get("backend") and facts.get("status") == "finished"):
        with damaged(state, [classes[place] for place in ("model", "backend") if place in classes]):
            scorer.use(_restored(cfg, state, len(labels)))
            _try_backend(scorer)
    if os.path.lexists(path := run_dir / "thresholds.json"):
        scorer.thresholds = Thresholds.read(path, labels)
    check_digests(run_dir)
    return scorer


def _usable(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both
        raise InputError(f"device={device}: not usable here: {first_line(error)}") from None
    return device


def _detector(kind: type, path: Path) -> Detector:
    """Build a detector from its checkpoint: hyperparameters and weights, and nothing else of the file, are used."""
    with damaged(path, [kind]), path.open("rb") as file:
        require_stored(file)
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        accepted = parameters(f"{kind.__module__}.{kind.__qualname__}")
        options = {name: value for name, value in checkpoint["hyper_parameters"].items() if name in accepted}
        detector: Detector = kind(**options)
        detector.load_state_dict(checkpoint["state_dict"])
        if not all(weights.isfinite().all() for weights in detector.parameters()):
            raise ValueError("its weights are not finite numbers")
        return detector


def _restore_statistics(features: Spectral, run_dir: Path) -> None:
    path = run_dir / "features.npz"
    if features.normalize not in ("train", "minmax"):
        return
    arrays = read_arrays(path)
    with damaged(path):
        features.fitted = Statistics(**{name: torch.from_numpy(arrays[name]) for name in Statistics._fields})
        shape = (1, features.channels, features.bins, 1)
        for part in features.fitted:
            if np.broadcast_shapes(part.shape, shape) != shape:  # that of torch imports sympy
                raise ValueError(f"its statistics have shape {tuple(part.shape)}")
            if not part.is_floating_point() or not part.isfinite().all():
                raise ValueError("its statistics are not finite numbers")


def _restored(cfg: DictConfig, state: Path, n_ids: int) -> BackEnd:
    backend: Any = build(cfg.backend)
    if backend is None:
        raise ValueError("the configuration has no back end")
    backend.load_state_dict(read_arrays(state))
    if missing := {ALL_IDS, *range(n_ids if backend.per_id else 0)} - backend.parts.keys():
        raise ValueError(f"it has no part for machine ID number {min(missing)}")
    return backend


def noise_clips(scorer: BaseScorer, clips: int) -> np.ndarray:
    """Make clips of noise to try a scorer with, int16 [clips, samples]."""
    return np.random.default_rng(0).normal(0, 1000, (clips, scorer.samples)).astype(np.int16)


def _try_backend(scorer: Scorer) -> None:
    """Score one clip of noise against every part of the back end, so that a part that does not fit is found now."""
    assert scorer.backend is not None
    embedding = scorer.embed_waves(noise_clips(scorer, 1), np.zeros(1, int))
    for number in scorer.backend.parts:
        scorer.backend.score(embedding, np.array([number]))
