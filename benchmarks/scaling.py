"""Time and memory of each stage of a run from 100 to 10,000 clips of a second: time linear, memory flat.

    python benchmarks/scaling.py [dense_ae,committee]

A tenth of the clips are for testing. Pages of the mapped audio cache count as the process's own while there is room,
and are given up when there is none: they are shown apart.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _bench import mapped_mib, peak_mib, recordings, show, workplace

from mimii_pl import run as job
from mimii_pl.core.config import compose

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}  # as commands set it
CLIPS = (100, 1_000, 10_000)
STAGES = {  # of a run, function of `mimii_pl.run` or method of its task -> column
    "open_data": "decode",
    "train_detector": "train",
    "fit": "fit",
    "evaluate": "score",
    "write_run_page": "page",
}


@contextmanager
def timed(taken: dict[str, float]) -> Iterator[None]:
    """Note the seconds of each stage of a run."""
    from mimii_pl.task.anomaly import Anomaly

    places = {name: job if hasattr(job, name) and name != "evaluate" else Anomaly for name in STAGES}
    before = {name: getattr(place, name) for name, place in places.items()}

    def noting(name: str):
        def stage(*args, **options):
            started = time.perf_counter()
            try:
                return before[name](*args, **options)
            finally:
                taken[name] = time.perf_counter() - started

        return stage

    for name, place in places.items():
        setattr(place, name, noting(name))
    try:
        yield
    finally:
        for name, place in places.items():
            setattr(place, name, before[name])


def one_size(model: str, root: Path) -> None:
    """Print seconds and peak memory of one size; a process of its own, since a process never forgets its peak."""
    folders = [f"dataset.root={root}", f"dataset.cache_dir={root}/cache"]
    options = [f"model={model}", "machine=fan", "training.epochs=1", "logger=none", "trainer=cpu", "report.clips=5"]
    taken: dict[str, float] = {}
    with timed(taken):
        job.run(compose([*options, *folders, "efficiency.seconds=0"]), root / "run")
    print(*(taken[name] for name in STAGES), peak_mib() - mapped_mib(), mapped_mib())


def main(models: str = "dense_ae,committee") -> None:
    for model in models.split(","):
        rows = []
        for clips in CLIPS:
            with workplace() as folder:
                root = recordings(Path(folder), train=clips - clips // 10, test=clips // 10, seconds=1.0)
                command = [sys.executable, __file__, "one", model, str(root)]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | WAITING)
            rows.append([f"{clips:,}", *map(float, done.stdout.strip().splitlines()[-1].split())])
        columns = ["clips", *(f"{name}, s" for name in STAGES.values()), "peak MiB", "mapped MiB"]
        show(f"{model}, clips of 1 s", columns, rows)


if __name__ == "__main__":
    one_size(sys.argv[2], Path(sys.argv[3])) if sys.argv[1:2] == ["one"] else main(*sys.argv[1:])
