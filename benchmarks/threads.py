"""Seconds of training with one thread, with all, and with `threads=auto`: on quiet cores and beside one busy process.

One epoch of 240 clips of 10 s, decoded already, without what follows it. Ratios are to `threads=1` on quiet cores.

    python benchmarks/threads.py [rounds=1] [models=dense_ae,idnn,complex_ssl]
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from _bench import TRAIN, busy_core, recordings, show, workplace

EPOCH = [*TRAIN, "training.epochs=1", "report=none", "efficiency.seconds=0"]
MODELS = "dense_ae,idnn,complex_ssl"
THREADS = ("1", str(os.cpu_count()), "auto")


def training(folder: Path, options: list[str], *, beside: bool) -> float:
    """Seconds of training of one run, `beside` another process that keeps one core busy."""
    run_dir = folder / "run"
    with busy_core() if beside else nullcontext():
        command = [*EPOCH, *options, f"hydra.run.dir={run_dir}"]
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
    seconds = json.loads((run_dir / "run.json").read_text())["train_seconds"]
    run_dir.rename(folder / f"run-{len(list(folder.iterdir()))}")
    return seconds


def main(rounds: int = 1, models: str = MODELS) -> None:
    load = os.getloadavg()[0]
    with workplace() as name:
        folder = Path(name)
        place = [f"dataset.root={recordings(folder / 'data', train=240, test=8)}", f"dataset.cache_dir={folder}/cache"]
        training(folder, [*place, "model=simple_ae"], beside=False)  # makes the audio cache
        cells = [(threads, beside) for beside in (False, True) for threads in THREADS]
        times: dict[tuple, list[float]] = {}
        for _ in range(rounds):
            for model in models.split(","):
                for threads, beside in cells:
                    options = [*place, f"model={model}", f"threads={threads}"]
                    times.setdefault((model, threads, beside), []).append(training(folder, options, beside=beside))
    medians = {key: float(np.median(each)) for key, each in times.items()}
    rows = [
        [
            model,
            medians[model, "1", False],
            *(f"{medians[model, *cell] / medians[model, '1', False]:.2f}" for cell in cells),
        ]
        for model in models.split(",")
    ]
    columns = [f"{threads}, {'shared' if beside else 'quiet'}" for threads, beside in cells]
    title = f"training with threads=..., {os.cpu_count()} cores, load {load:.1f} before, medians of {rounds}"
    show(title, ["model", "s, 1 thread", *columns], rows)


if __name__ == "__main__":
    given = dict(argument.split("=") for argument in sys.argv[1:])
    main(int(given.get("rounds", 1)), given.get("models", MODELS))
