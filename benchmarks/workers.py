"""The same sweep with one worker and with several: wall time, and whether they find the same to the last byte.

Eight runs of simple_ae on synthetic fans (seeds 0 to 7), one thread each, every run in a process of its own
(hydra/launcher=joblib). Numbers of workers are timed in turn; the recordings are made and decoded before.

    python benchmarks/workers.py [repeats=1] [workers=1,2]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _bench import show

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
COMPARED = ("results.csv", "scores.csv", "history.csv")


def sweep(folder: Path, name: str, *overrides: str) -> float:
    """Wall seconds of a sweep, its start and the leaderboard included."""
    command = [
        sys.executable,
        str(TRAIN),
        "-m",
        "model=simple_ae",
        "machine=fan",
        "dataset=synthetic",
        f"dataset.root={folder}/data",
        f"dataset.cache_dir={folder}/cache",
        "training.epochs=5",
        "threads=1",
        "report=brief",
        "efficiency.seconds=0",
        "logger=none",
        "trainer=cpu",
        f"hydra.sweep.dir={folder}/{name}",
        *overrides,
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - started


def same(one: Path, other: Path) -> str:
    """Count the runs of two sweeps that left the same files, byte for byte."""
    runs = sorted(path.name for path in one.iterdir() if path.is_dir())
    equal = {
        name: sum((one / run / name).read_bytes() == (other / run / name).read_bytes() for run in runs)
        for name in COMPARED
    }
    return ", ".join(f"{name} {count} of {len(runs)}" for name, count in equal.items())


def main(repeats: int = 1, workers: str = "1,2") -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder, numbers = Path(folder), workers.split(",")
        sweep(folder, "first", "seed=0", "trainer=smoke")
        times = {number: [] for number in numbers}
        for repeat in range(repeats):
            for number in numbers:
                launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={number}", "seed=0,1,2,3,4,5,6,7"]
                times[number].append(sweep(folder, f"workers{number}-{repeat}", *launcher))
        first = folder / f"workers{numbers[0]}-0"
        rows = [
            [number, min(times[number]), same(first, folder / f"workers{number}-{repeats - 1}")] for number in numbers
        ]
        show("8 runs of simple_ae, one thread each", ["workers", "wall, s", "as with the first"], rows)


if __name__ == "__main__":
    main(*([int(sys.argv[1])] if len(sys.argv) > 1 else []), *sys.argv[2:])
