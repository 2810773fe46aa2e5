"""Whole jobs, from the start of the process to its last line, beside their goals and the limits of the machine.

    python benchmarks/jobs.py            # the median of three rounds, in turn
    python benchmarks/jobs.py rounds=1

The jobs work on 240 training and 120 test clips of 10 s, decoded already; those of `mimii score` read 2,000 recordings,
decoding included. Processor seconds are those of the process and its children. On shared cores, wall times say little:
compare processor seconds, and ratios of one run.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from _bench import RATE, TRAIN, busy_core, recordings, seconds, show, workplace

BRIEF = ["report=brief", "efficiency.seconds=0"]
JOBS = {  # name -> options, goal in s
    "dense_ae, 5 epochs": ([*TRAIN, "model=dense_ae", "training.epochs=5", *BRIEF], 12),
    "spectrum + knn": ([*TRAIN, "model=spectrum", "backend=knn", *BRIEF], 5),
    "committee": ([*TRAIN, "model=committee", *BRIEF], 8),
    "committee, with sound on its page": ([*TRAIN, "model=committee"], 8),
    "complex_ssl, 1 epoch": ([*TRAIN, "model=complex_ssl", "training.epochs=1", *BRIEF], 25),
    "mimii --help": ([sys.executable, "-m", "mimii_pl", "--help"], 1),
    "a wrong option": ([sys.executable, "-m", "mimii_pl", "train", "model.lrr=1"], 1),
}
SCORED = {"dense_ae": 500, "committee": 150}  # detector -> goal, recordings of 10 s per s
RECORDINGS = 2000  # that `mimii score` reads, from its start to its CSV
BESIDE = "dense_ae, 5 epochs"  # also measured beside one other busy process


def ended(command: list[str], folder: Path, *, check: bool = False) -> tuple[float, float]:
    """Wall and processor seconds of a command that runs in a folder; `check`: it has to succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=check))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def limits(root: Path) -> list[list]:
    """What this machine can do: matrix products, memory, decoding."""
    a = torch.randn(2048, 2048)
    product = min(seconds(lambda: a @ a) for _ in range(5))
    block = np.ones(2**27, np.uint8)
    copied = min(seconds(block.copy) for _ in range(5))
    paths = sorted(root.glob("fan/train/*.wav"))
    decoded = seconds(lambda: [soundfile.read(path, dtype="int16") for path in paths])
    return [
        ["float32 matrix product, GFLOP/s", 2 * 2048**3 / product / 1e9],
        ["memory read and written, GB/s", 2 * block.nbytes / copied / 1e9],
        [f"clips of 10 s at {RATE} Hz decoded by one thread, per s", len(paths) / decoded],
    ]


def scoring(folder: Path, place: list[str], rounds: int) -> list[list]:
    """Score 2,000 recordings with each detector, in turn."""
    files = sorted(folder.glob("data/fan/*/*.wav"))
    listed = folder / "recordings.txt"
    listed.write_text("".join(f"{files[index % len(files)]}\n" for index in range(RECORDINGS)))
    for model in SCORED:
        run_dir = f"hydra.run.dir={folder}/scoring-{model}"
        ended([*TRAIN, f"model={model}", "training.epochs=1", run_dir, *BRIEF, *place], folder, check=True)
    times: dict[str, list[tuple[float, float]]] = {model: [] for model in SCORED}
    for number in range(rounds):
        for model, each in times.items():
            options = [f"run={folder}/scoring-{model}", f"input={listed}", f"output={folder}/{model}-{number}.csv"]
            each.append(ended([sys.executable, "-m", "mimii_pl", "score", *options], folder, check=True))
    rows = []
    for model, goal in SCORED.items():
        wall, processor = np.median(np.array(times[model]), axis=0)
        rate = RECORDINGS / wall
        rows.append([f"mimii score, {model}", float(wall), float(processor), float(rate), float(goal), rate / goal])
    return rows


def main(rounds: int) -> None:
    load = os.getloadavg()[0]
    with workplace() as name:
        folder = Path(name)
        root = recordings(folder / "data", train=240, test=120)
        show("the machine", ["limit", ""], limits(root))
        place = [f"dataset.root={root}", f"dataset.cache_dir={folder}/cache"]
        commands = {job: [*command, *(place if command[3] == "train" else [])] for job, (command, _) in JOBS.items()}
        ended(commands["spectrum + knn"], folder)  # makes the audio cache
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for job, command in commands.items():
                times.setdefault(job, []).append(ended(command, folder))
            with busy_core():
                times.setdefault(f"{BESIDE}, beside a busy process", []).append(ended(commands[BESIDE], folder))
        scored = scoring(folder, place, rounds)
    medians = {job: np.median(np.array(each), axis=0) for job, each in times.items()}
    rows = []
    for job, (wall, processor) in medians.items():
        goal = JOBS[job][1] if job in JOBS else 1.3 * medians[BESIDE][0]
        rows.append([job, float(wall), float(processor), float(goal), float(wall / goal)])
    title = f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after, medians of {rounds}"
    show(title, ["job", "s", "processor s", "goal, s", "s / goal"], rows)
    columns = ["job", "s", "processor s", "recordings / s", "goal", "rate / goal"]
    show(f"{RECORDINGS:,} recordings of 10 s, decoding included", columns, scored)


if __name__ == "__main__":
    started = time.perf_counter()
    main(int(dict(argument.split("=") for argument in sys.argv[1:]).get("rounds", 3)))
    print(f"{time.perf_counter() - started:.0f} s")
