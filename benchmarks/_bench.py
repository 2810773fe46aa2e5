"""Shared by the benchmarks: recordings to work on, interleaved timing, small tables.

Machines have slow spells, so alternatives are timed in turn, and medians and their ratios are shown.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.table import Table

from mimii_pl.core.config import build_data, compose
from mimii_pl.core.console import Console
from mimii_pl.core.memory import keep_freed_memory
from mimii_pl.dataset import MachineSounds
from mimii_pl.model import Detector
from mimii_pl.scoring.scorer import Scorer

RATE = 16000
TRAIN = [sys.executable, "-m", "mimii_pl", "train", "machine=fan", "logger=none", "dataset.download=false"]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def recordings(folder: Path, *, train: int, test: int = 0, seconds: float = 10.0, ids: int = 4) -> Path:
    """A DCASE 2020 folder of tones in noise: `train` normal clips, `test` test clips, half of them anomalous."""
    rng = np.random.default_rng(0)
    time_ = np.arange(round(seconds * RATE)) / RATE
    noise = rng.standard_normal(2 * len(time_)).astype(np.float32)
    for split, condition, count in (
        ("train", "normal", train),
        ("test", "normal", test - test // 2),
        ("test", "anomaly", test // 2),
    ):
        (folder / "fan" / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            start = rng.integers(len(time_))
            wave = np.sin(2 * np.pi * (200 + 90 * (index % ids)) * time_) + noise[start : start + len(time_)]
            path = folder / "fan" / split / f"{condition}_id_{index % ids:02d}_{index:08d}.wav"
            soundfile.write(path, 0.1 * wave, RATE, subtype="PCM_16")
    return folder


def data(root: Path, *overrides: str):
    """Configuration and data module of a folder, cache beside it."""
    folders = [f"dataset.root={root}", f"dataset.cache_dir={root}/cache", f"run_dir={root}/run"]
    cfg = compose(["logger=none", "machine=fan", *folders, *overrides])
    (root / "run").mkdir(exist_ok=True)
    module = build_data(cfg)
    module.setup()
    return cfg, module


def scorer(detector: Detector, module: MachineSounds, device: torch.device) -> Scorer:
    """Wrap a trained detector of a data module for scoring."""
    return Scorer(
        detector,
        module.features,
        labels=module.labels,
        sample_rate=module.sample_rate,
        samples=module.samples,
        batch_size=module.batch_size,
        device=device,
    )


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Wall time of one call, the device's queue included."""
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def medians(alternatives: dict[str, Callable[[], object]], repeats: int = 7, device: str = "cpu") -> dict[str, float]:
    """Median seconds of each alternative, all timed in turn after one call to warm up."""
    for work in alternatives.values():
        work()
    times = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, work in alternatives.items():
            times[name].append(seconds(work, device))
    return {name: float(np.median(values)) for name, values in times.items()}


@contextmanager
def busy_core() -> Iterator[None]:
    """Have another process keep one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            yield
        finally:
            spinning.kill()


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def mapped_mib() -> float:
    """Memory-mapped files that are resident now, in MiB: libraries and the audio cache."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssFile:")[1].split()[0]) / 1024


def show(title: str, columns: list[str], rows: list[list]) -> None:
    """Print a table; numbers with three digits that count."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120).print(table)


def workplace() -> tempfile.TemporaryDirectory:
    """A folder that is gone afterwards; freed memory is kept, as in a run."""
    keep_freed_memory()
    return tempfile.TemporaryDirectory()
