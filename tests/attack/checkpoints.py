"""Hostile checkpoints: pickles that run commands, other weights, and callbacks that point elsewhere."""

import pickle  # noqa: TID251  (to write what must not be read)
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.confined import MARK

from attack.damage import ODD_VALUES
from attack.outcome import Change
from attack.stored import EITHER, REFUSED, Payload


def checkpoint(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    """Make the checkpoints hostile."""
    make: Callable[..., Change] = CHECKPOINTS[rng.integers(len(CHECKPOINTS))]
    seed = rng.integers(2**32)  # the same change of both
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        done = make(np.random.default_rng(seed), path, elsewhere)
    return done


def _pickled(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    path.write_bytes(pickle.dumps({"state_dict": Payload(elsewhere)}, protocol=int(rng.integers(6))))
    return Change("checkpoint: a pickle that runs a command", REFUSED)


def _torch_pickled(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    state = torch.load(path, weights_only=True)
    key = str(rng.choice([*state, "extra"]))
    torch.save({**state, key: Payload(elsewhere)}, path, _use_new_zipfile_serialization=bool(rng.random() < 0.7))
    return Change("checkpoint of torch's format with a pickle that runs a command", REFUSED)


def _parameters(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    state = torch.load(path, weights_only=True)
    parameters = dict(state["hyper_parameters"])
    if rng.random() < 0.4:
        parameters["_instantiator"] = str(
            rng.choice(["os.system", "mimii_pl.core.files.write_text", f"planted_{MARK}.x"])
        )
    else:
        key = str(rng.choice([*parameters, "extra", "_class_path", "self"]))
        value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
        parameters[key] = [1, 10**9, 10**9] if key == "in_shape" and rng.random() < 0.5 else value
    torch.save({**state, "hyper_parameters": parameters}, path)
    changed = {key: value for key, value in parameters.items() if value != state["hyper_parameters"].get(key)}
    return Change(f"checkpoint: hyper-parameters {changed!r:.80}", valued=False)


def _weights(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    state = torch.load(path, weights_only=True)
    weights = dict(state["state_dict"])
    if not weights:
        return _parameters(rng, path, elsewhere)
    key = str(rng.choice(list(weights)))
    versions: dict[str, Any] = {
        "NaN": torch.full_like(weights[key], torch.nan) if weights[key].is_floating_point() else "x",
        "another shape": torch.zeros(7, 7, 7),
        "a huge view": torch.zeros(1).expand(10**6, 10**6),
        "another type": "x",
        "missing": None,
    }
    name = str(rng.choice(list(versions)))
    weights[key] = versions[name]
    if name == "missing":
        del weights[key]
    torch.save({**state, "state_dict": weights}, path)
    return Change(f"checkpoint: weights {key}: {name}", REFUSED)


def _keys(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    state = torch.load(path, weights_only=True)
    key = str(rng.choice(list(state)))
    if rng.random() < 0.5:
        del state[key]
        torch.save(state, path)
        return Change(f"checkpoint: {key} is missing", EITHER)
    state[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    torch.save(state, path)
    return Change(f"checkpoint: {key} = {state[key]!r:.40}", EITHER)


def _callbacks(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    state = torch.load(path, weights_only=True)
    victim = str(elsewhere / "precious.ckpt")
    for values in state.get("callbacks", {}).values():
        if "best_model_path" in values:
            values |= {"best_model_path": victim, "last_model_path": victim, "kth_best_model_path": victim}
            values |= {"best_k_models": {victim: torch.tensor(1e9)}, "dirpath": str(elsewhere)}
            values |= {"best_model_score": torch.tensor(1e9), "current_score": torch.tensor(1e9)}
    torch.save(state, path)
    return Change("checkpoint: callbacks whose best checkpoint is a file elsewhere", EITHER)


CHECKPOINTS = (_pickled, _torch_pickled, _parameters, _weights, _keys, _callbacks)
