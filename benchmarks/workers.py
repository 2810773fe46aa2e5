"""The same sweep in one process, with one worker and with several, as separate commands, and as a bare loop of Optuna.

Runs of simple_ae on synthetic fans that differ in their seed, one thread each. Alternatives are timed in turn; the
recordings are made and decoded before. `of training`: wall time over the sum of the seconds of training.

    python benchmarks/workers.py [repeats=1] [runs=8] [epochs=5]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _bench import show

HERE = Path(__file__).resolve()
TRAIN = HERE.parents[1] / "train.py"
COMPARED = ("results.csv", "scores.csv", "history.csv")


def options(folder: Path, epochs: int) -> list[str]:
    """Options of every run."""
    places = [f"dataset.root={folder}/data", f"dataset.cache_dir={folder}/cache"]
    small = ["report=none", "efficiency.seconds=0", "logger=none", "trainer=cpu", "threads=1"]
    return ["model=simple_ae", "machine=fan", "dataset=synthetic", f"training.epochs={epochs}", *places, *small]


def command(folder: Path, *arguments: str) -> None:
    """Wait for a command."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder)


def bare_loop(folder: Path, name: str, runs: int, epochs: int) -> None:
    """Let Optuna call `run`, with nothing around it."""
    import optuna

    from mimii_pl.core.config import compose
    from mimii_pl.run import run

    def objective(trial: optuna.Trial) -> float:
        seed = trial.suggest_int("seed", 0, runs - 1)
        return run(compose([*options(folder, epochs), f"seed={seed}"]), folder / name / str(seed))

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"seed": range(runs)}))
    study.optimize(objective, n_trials=runs)


def training(folder: Path) -> float:
    """Sum of the seconds of training of all runs below a folder."""
    return sum(json.loads(path.read_text())["train_seconds"] for path in folder.glob("*/run.json"))


def same(one: Path, other: Path) -> str:
    """Count the runs of two sweeps that left the same files, byte for byte."""
    runs = sorted(path.name for path in one.iterdir() if path.is_dir())
    equal = {
        name: sum((one / run / name).read_bytes() == (other / run / name).read_bytes() for run in runs)
        for name in COMPARED
    }
    return ", ".join(f"{name} {count} of {len(runs)}" for name, count in equal.items())


def main(repeats: int = 1, runs: int = 8, epochs: int = 5) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command(folder, str(TRAIN), *options(folder, 1), "trainer=smoke", f"hydra.run.dir={folder}/first")
        seeds, each = ",".join(map(str, range(runs))), options(folder, epochs)
        names = "hydra.sweep.subdir=${seed}"

        def sweep(name: str, *overrides: str) -> None:
            sweep_dir = f"hydra.sweep.dir={folder}/{name}"
            command(folder, str(TRAIN), "-m", *each, sweep_dir, f"seed={seeds}", names, *overrides)

        def separate(name: str) -> None:
            for seed in range(runs):
                command(folder, str(TRAIN), *each, f"seed={seed}", f"hydra.run.dir={folder}/{name}/{seed}")

        joblib = "hydra/launcher=joblib"
        ways = {
            "one process": sweep,
            "one worker": lambda name: sweep(name, joblib, "hydra.launcher.n_jobs=1"),
            "two workers": lambda name: sweep(name, joblib, "hydra.launcher.n_jobs=2"),
            "separate commands": separate,
            "a bare loop of Optuna": lambda name: command(
                folder, str(HERE), "bare", str(folder), name, str(runs), str(epochs)
            ),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(repeats):
            for way, work in ways.items():
                started = time.perf_counter()
                work(f"{way}-{repeat}".replace(" ", "_"))
                times[way].append(time.perf_counter() - started)
        first, rows = folder / "one_process-0", []
        for way in ways:
            own = folder / f"{way}-{repeats - 1}".replace(" ", "_")
            rows.append([way, min(times[way]), min(times[way]) / training(own), same(first, own)])
        show(f"{runs} runs of simple_ae, one thread each", ["", "wall, s", "of training", "as the first"], rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare_loop(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main(*map(int, sys.argv[1:]))
