"""Time and memory of scoring one clip on one thread: of an exported model, and of the run with torch."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mimii_pl.core.memory import peak_bytes
from mimii_pl.scoring.load_run import load_detector, noise_clips

MEASURED_SECONDS = 2.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Latency(NamedTuple):
    """Cost of a process of its own that scores clips one at a time.

    Attributes:
        ms_per_clip: milliseconds from the waveform to the score.
        peak_mib: peak memory of the process in MiB; 0: unknown.
    """

    ms_per_clip: float
    peak_mib: float


def measure_onnx(folder: Path, model: str) -> Latency:
    """Measure an exported model by its own `score.py`."""
    return _measured([str(folder / "score.py"), "--measure", "--threads", "1", "--model", model])


def measure_torch(run_dir: Path, trust: Collection[str] = ()) -> Latency:
    """Measure a run with torch."""
    code = "import sys; from mimii_pl.deploy.latency import print_torch; print_torch(sys.argv[1], sys.argv[2:])"
    return _measured(["-c", code, str(run_dir), *trust])


def print_torch(run_dir: str, trust: Collection[str]) -> None:
    """Print the cost of a run in this process as JSON."""
    import torch

    torch.set_num_threads(1)
    scorer = load_detector(Path(run_dir), device="cpu", trust=trust)
    clip, id_ = noise_clips(scorer, 1), np.zeros(1, int)
    times: list[float] = []
    ends = time.perf_counter() + MEASURED_SECONDS
    while len(times) < 4 or time.perf_counter() < ends:
        started = time.perf_counter()
        scorer.score_waves(clip, id_)
        times.append(time.perf_counter() - started)
    peak = peak_bytes(scorer.device) or 0
    print(json.dumps(Latency(1e3 * float(np.median(times[1:])), peak / 2**20)._asdict()))


def _measured(arguments: list[str]) -> Latency:
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {arguments[0]} failed: {done.stderr.strip()[-500:]}")
    return Latency(**json.loads(done.stdout.splitlines()[-1]))
