"""Epochs of dis_spec over 240 clips of 10 s, by memory format of its convolutions; its parameters and memory."""

import time
import warnings
from pathlib import Path

import torch
from _bench import data, peak_mib, recordings, show, workplace

from mimii_pl.core.config import build
from mimii_pl.core.settings import quiet_lightning

EPOCHS, PEER = 2, "15 to 20"  # seconds per epoch of the reference implementation, two cores


def epoch(root: Path, memory_format: torch.memory_format) -> tuple[float, float]:
    """Wall and processor seconds per epoch, features, validation and checkpoints included."""
    cfg, module = data(root, "model=dis_spec", "trainer=default", f"training.epochs={EPOCHS}")
    model = build(cfg.model, module.in_shape, 4)
    for branch in model.branches[:-1]:
        branch.layers.to(memory_format=memory_format)
    trainer = build(cfg.trainer)
    wall, processor = time.perf_counter(), time.process_time()
    trainer.fit(model, module)
    return (time.perf_counter() - wall) / EPOCHS, (time.process_time() - processor) / EPOCHS


with workplace() as folder:
    quiet_lightning()
    warnings.filterwarnings("ignore")
    root = recordings(Path(folder), train=240)
    rows = [[name, *epoch(root, getattr(torch, name)), PEER] for name in ("channels_last", "contiguous_format")]
    show(
        f"240 clips of 10 s, batch 64, {torch.get_num_threads()} threads, peak {peak_mib():.0f} MiB",
        ["memory format", "s/epoch", "processor s/epoch", "ASDKit, s/epoch"],
        rows,
    )
