"""Time and memory of a dense_ae epoch and of scoring, from 100 to 1,000 clips: time linear, memory flat.

Pages of the mapped audio cache count as the process's own while there is room, and are given up when there is none:
they are shown apart.
"""

import subprocess
import sys
import time
from pathlib import Path

from _bench import RATE, data, mapped_mib, peak_mib, recordings, show, workplace

from mimii_pl.core.config import build
from mimii_pl.core.settings import quiet_lightning
from mimii_pl.scoring.scorer import Scorer


def one_size(root: Path, clips: int) -> None:
    """Print seconds and peak memory of one size; a process of its own, since a process never forgets its peak."""
    quiet_lightning()
    started = time.perf_counter()
    cfg, module = data(root, "model=dense_ae", "trainer=default", "training.epochs=1")
    opened = time.perf_counter()
    model = build(cfg.model, module.in_shape, 4)
    module.crop = model.crop
    trainer = build(cfg.trainer)
    trainer.progress_bar_callback.disable()
    trainer.fit(model, module)
    trained = time.perf_counter()
    scorer = Scorer(model, module.features, labels=module.labels, sample_rate=RATE, samples=module.samples)
    scorer.score_waves(*module.of("train"))
    scored = time.perf_counter()
    print(clips, opened - started, trained - opened, scored - trained, peak_mib() - mapped_mib(), mapped_mib())


def main() -> None:
    rows = []
    for clips in (100, 300, 1000):
        with workplace() as folder:
            root = recordings(Path(folder), train=clips)
            done = subprocess.run(
                [sys.executable, __file__, str(root), str(clips)], capture_output=True, text=True, check=True
            )
        number, *values = done.stdout.strip().splitlines()[-1].split()
        rows.append([number, *map(float, values)])
    show("dense_ae, clips of 10 s", ["clips", "decode, s", "epoch, s", "score, s", "peak MiB", "mapped MiB"], rows)


if __name__ == "__main__":
    one_size(Path(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 1 else main()
