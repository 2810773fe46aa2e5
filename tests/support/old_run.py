"""Run directories that an earlier version left, put where a test wants them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

DATA = Path(__file__).resolve().parents[1] / "data" / "old_run"
ROOT = "/old"  # where they were trained: the data in /old/world, the runs in /old/<name>
TEXTS = (".csv", ".json", ".yaml")


def restore(name: str, folder: Path) -> Path:
    """Copy a run as it would be had it been trained in `folder`; return its directory."""
    run_dir = folder / name
    shutil.copytree(DATA / name, run_dir)
    relocate(run_dir, ROOT, str(folder))
    last = run_dir / "checkpoints" / "last.ckpt"
    if not last.is_file():  # both were equal
        shutil.copy2(run_dir / "checkpoints" / "best.ckpt", last)
    return run_dir


def relocate(run_dir: Path, old: str, new: str) -> None:
    """Replace a folder in everything that a run directory says."""
    for path in sorted(run_dir.rglob("*")):
        if path.suffix in TEXTS:
            path.write_text(path.read_text().replace(old, new))
        elif path.suffix == ".ckpt":  # callbacks remember where their files are
            torch.save(_replaced(torch.load(path, weights_only=True), lambda text: text.replace(old, new)), path)


def _replaced(value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return type(value)((_replaced(key, replace), _replaced(item, replace)) for key, item in value.items())
    if isinstance(value, list):
        return [_replaced(item, replace) for item in value]
    return value
