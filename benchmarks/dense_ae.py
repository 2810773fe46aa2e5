"""dense_ae against a bare loop of torch over the same steps, and against the official baseline's times.

Five epochs of 240 training clips, a tenth of them held out, and 120 test clips, of 10 s, with one thread. The bare loop
takes random windows that are in memory: neither features nor batches, validation, checkpoints nor logs.
"""

import json
import subprocess
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from _bench import TRAIN, data, medians, recordings, seconds, show, workplace

from mimii_pl.core.config import build
from mimii_pl.model._window_ae import WindowAE

EPOCHS, ROUNDS = 5, 3
STEPS = 200  # of the bare loop, timed at once
OFFICIAL = {"epoch": 4.5, "all": 49.0}  # seconds on two cores: 360 clips, 66,700 windows per epoch, 5 epochs
OPTIONS = ["model=dense_ae", f"training.epochs={EPOCHS}", "threads=1", "report=none", "efficiency.seconds=0"]


def bare_step(detector: WindowAE, windows: torch.Tensor) -> float:
    """Seconds of a step of a bare loop: forward, loss, backward, Adam."""
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(detector.reconstruction(windows), windows).backward()
        optimizer.step()

    return medians({"": lambda: [step() for _ in range(STEPS)]}, repeats=3)[""] / STEPS


def main() -> None:
    torch.set_num_threads(1)
    with workplace() as name:
        root = recordings(Path(name) / "data", train=240, test=120)
        cfg, module = data(root, "model=dense_ae")
        detector = build(cfg.model, module.in_shape, len(module.labels)).train()
        module.crop = detector.crop
        tile = detector.crop.frames - detector.frames + 1  # windows of a clip in a step
        steps, windows = len(module.train_dataloader()), torch.randn(cfg.dataset.batch_size * tile, detector.width)
        command = [*TRAIN, *OPTIONS, f"dataset.root={root}"]
        rounds = []
        for number in range(ROUNDS):
            run_dir = Path(name, f"run-{number}")
            places = [f"dataset.cache_dir={name}/cache-{number}", f"hydra.run.dir={run_dir}"]
            whole = seconds(partial(subprocess.run, [*command, *places], capture_output=True, check=True, cwd=name))
            training = json.loads((run_dir / "run.json").read_text())["train_seconds"]
            rounds.append((whole, training, EPOCHS * steps * bare_step(detector, windows)))
    whole, training, bare = (sorted(each)[ROUNDS // 2] for each in zip(*rounds, strict=True))
    epoch, official = training / EPOCHS, OFFICIAL["epoch"]
    show(
        f"360 clips of 10 s, {steps} steps of {len(windows)} windows per epoch, one thread, medians of {ROUNDS}",
        ["work", "s", "compared with", "s", "ratio"],
        [
            ["training", training, "a bare loop", bare, training / bare],
            ["an epoch", epoch, "the official baseline", official, epoch / official],
            ["the whole command", whole, "the official baseline", OFFICIAL["all"], whole / OFFICIAL["all"]],
        ],
    )


if __name__ == "__main__":
    main()
