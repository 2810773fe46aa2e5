"""Checkpoints that survive a kill, a full disk, and a run directory that moves."""

import io
import logging
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import replacing, require_stored

LAST, BEFORE = "last.ckpt", "last.ckpt.before"  # of the last epoch, and of the epoch before it
log = logging.getLogger(__name__)


def checkpoint_bytes(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Return about how many bytes the checkpoints of a run take at most: each holds the weights and Adam's two moments.

    There are four for a moment: best, last, the one before it, and the one that is being written.
    """
    return 4 * 3 * sum(weights.numel() * weights.element_size() for weights in parameters)


class AtomicCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside the one it replaces, flushed to the disk, then rename; keep the last one but one.

    Lightning's own writes into the folder for temporary files and moves from there, which is a copy if that folder is
    on another file system: a kill or a full disk leaves half of it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target, file = Path(path), io.BytesIO()
        torch.save(checkpoint, file)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(file.getbuffer())
            if target.name == LAST and target.is_file():
                os.replace(target, target.with_name(BEFORE))


class Checkpoints(ModelCheckpoint):
    """Lightning's callback, whose files are those of its own folder, wherever that has been moved or copied to."""

    @property
    def state_key(self) -> str:
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)  # as in older runs

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else ""

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict.get(name, "")) for name in paths}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})


def last_checkpoint(folder: Path, weights: Iterable[str] = ()) -> Path | None:
    """Return the newest checkpoint of a run's folder that can be read; None if training starts from the beginning.

    Args:
        weights: names of the weights that must be in it, and finite.

    Raises:
        InputError: there are checkpoints, but none that can be read.
    """
    faults = []
    for path in (folder / LAST, folder / BEFORE):
        if not os.path.lexists(path):
            continue
        try:
            _require_whole(path, weights)
        except InputError as fault:
            faults.append(str(fault))
            continue
        if path.name == BEFORE:
            log.warning("%s: training continues from the epoch before it", faults[0] if faults else f"no {LAST}")
        return path
    if faults:
        raise InputError(f"{faults[0]}, or delete {folder} to train from the beginning")
    return None


def _require_whole(path: Path, weights: Iterable[str]) -> None:
    """Raise InputError unless a checkpoint is as it was written, and holds weights and numbers alone."""
    with damaged(path):
        with path.open("rb") as file, zipfile.ZipFile(file) as parts:
            require_stored(file)
            if part := parts.testzip():
                raise ValueError(f"the checksum of {part} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name in weights:
            if not state["state_dict"][name].isfinite().all():
                raise ValueError(f"its weights {name} are not finite numbers")
