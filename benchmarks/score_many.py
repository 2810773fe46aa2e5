"""Scoring of 2,000 to 200,000 recordings of 0.5 to 1 s: rate, memory; and what a kill in the middle costs.

`python benchmarks/score_many.py [most]`: `most` (200,000) are listed, a tenth of them are files of their own.
"""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from _bench import RATE, recordings, show, workplace

from mimii_pl.core.config import compose
from mimii_pl.run import run


def clips(folder: Path, count: int) -> list[Path]:
    """Tones in noise, 0.5 to 1 s long."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE).astype(np.float32)
    paths = []
    for index in range(count):
        length, start = rng.integers(RATE // 2, RATE), rng.integers(RATE)
        tone = np.sin(2 * np.pi * (200 + 90 * (index % 4)) * np.arange(length) / RATE)
        paths.append(folder / f"{index // 1000:03d}" / f"normal_id_{index % 4:02d}_{index:08d}.wav")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(paths[-1], 0.1 * (tone + noise[start : start + length]), RATE, subtype="PCM_16")
    return paths


def trained(root: Path) -> Path:
    """A small auto-encoder, trained for seconds."""
    data = recordings(root / "world", train=64, test=8, seconds=1.0)
    folders = [f"dataset.root={data}", f"dataset.cache_dir={root}/cache"]
    options = ["model=simple_ae", "machine=fan", "training.epochs=2", "logger=none", "trainer=cpu", "report=brief"]
    run(compose([*options, *folders, "efficiency.seconds=0"]), root / "run")
    return root / "run"


def scored(root: Path, source: Path, output: str, kill_at: int | None = None) -> tuple[float, float]:
    """Seconds and peak MiB of `mimii score` in a session of its own, killed at so many finished shards."""
    command = [
        sys.executable,
        "-m",
        "mimii_pl",
        "score",
        f"run={root / 'run'}",
        f"input={source}",
        f"output={root / output}",
    ]
    started = time.perf_counter()
    with open(root / "log", "w") as log:
        process = subprocess.Popen(command, cwd=root, stdout=log, stderr=log, start_new_session=True)
        while kill_at and len(list(root.glob(f"{output}.shards/[0-9]*.csv"))) < kill_at:
            time.sleep(0.05)
        if kill_at:
            os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != (-signal.SIGKILL if kill_at else 0):
        raise RuntimeError((root / "log").read_text())
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main(most: int) -> None:
    with workplace() as folder:
        root = Path(folder)
        trained(root)
        paths = clips(root / "sounds", most // 10)
        rows = []
        for count in (most // 100, most // 10, most):
            source = root / f"{count}.txt"
            source.write_text("".join(f"{paths[index % len(paths)]}\n" for index in range(count)))
            rows.append(["list", count, *scored(root, source, f"{count}.csv")])
        rows.append(["folder", len(paths), *scored(root, root / "sounds", "folder.csv")])
        source, whole = root / f"{len(paths)}.txt", root / f"{len(paths)}.csv"
        shards = math.ceil(len(paths) / 1024)
        rows.append(["list, killed", len(paths), *scored(root, source, "killed.csv", shards // 2)])
        rows.append(["and resumed", len(paths), *scored(root, source, "killed.csv")])
        show("python score.py", ["of", "recordings", "seconds", "peak MiB"], rows)
        print((root / "log").read_text().splitlines()[0])
        with (root / "killed.csv").open(newline="") as file:
            times = Counter(row["file"] for row in csv.DictReader(file))
        same = (root / "killed.csv").read_bytes() == whole.read_bytes()
        print(
            f"the resumed CSV: {len(times)} of {len(paths)} recordings, at most {max(times.values())} time each;",
            "equal to the uninterrupted one" if same else "DIFFERENT from the uninterrupted one",
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
