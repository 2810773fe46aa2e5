"""Nearest neighbours of 100 to 10,000 clips in a bank of 10,000: clips/s, and memory that does not grow with them."""

import subprocess
import sys

import numpy as np
from _bench import peak_mib, seconds, show

from mimii_pl.backend.knn import KNN

BANK, SIZE = 10_000, 513  # clips, numbers per embedding


def one(clips: int, density: str) -> None:
    """Print what one size needs; a process of its own, since a process never forgets its peak."""
    rng = np.random.default_rng(0)
    bank, query = (rng.standard_normal((n, SIZE), dtype=np.float32) for n in (BANK, clips))
    knn = KNN(per_id=False, density=density)
    fitting = seconds(lambda: knn.fit(bank, np.zeros(BANK, int)))
    before = peak_mib()
    scoring = seconds(lambda: knn.score(query, np.zeros(clips, int)))
    print(fitting, scoring, clips / scoring, peak_mib() - before, peak_mib())


def main() -> None:
    rows = []
    for density in ("none", "ratio"):
        for clips in (100, 1000, 10_000):
            command = [sys.executable, __file__, str(clips), density]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append([clips, density, *map(float, done.stdout.split())])
    columns = ["clips", "local density", "fit, s", "score, s", "clips/s", "added by scoring, MiB", "peak MiB"]
    show(f"cosine, bank of {BANK} embeddings of {SIZE} numbers", columns, rows)


if __name__ == "__main__":
    one(int(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 1 else main()
