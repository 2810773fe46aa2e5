"""dense_ae on 66,700 training windows against the official baseline's times for the same work."""

import time
from pathlib import Path

from _bench import data, peak_mib, recordings, scorer, show, workplace

from mimii_pl.core.config import build
from mimii_pl.core.settings import quiet_lightning

OFFICIAL = {"features": 10.4, "epoch": 4.5, "all": 49.0}  # seconds on two cores: 360 clips, 66,700 windows, 5 epochs

with workplace() as folder:
    quiet_lightning()
    root = recordings(Path(folder), train=240, test=120)
    started = time.perf_counter()
    cfg, module = data(root, "model=dense_ae", "trainer=default", "training.epochs=5")
    decoded = time.perf_counter() - started
    model = build(cfg.model, module.in_shape, 4)
    module.crop = model.crop
    trainer = build(cfg.trainer)
    begun = time.perf_counter()
    trainer.fit(model, module)
    epoch = (time.perf_counter() - begun) / 5
    scorer(model, module, trainer.strategy.root_device).score_waves(*module.of("test"))
    whole = time.perf_counter() - started
    windows = len(module.train_dataloader()) * 256
    show(
        f"360 clips of 10 s, {windows} windows per epoch, batch 256, peak {peak_mib():.0f} MiB",
        ["work", "s", "official baseline, s", "times faster"],
        [
            ["decode (the baseline: extract features)", decoded, OFFICIAL["features"], OFFICIAL["features"] / decoded],
            ["epoch, features and validation included", epoch, OFFICIAL["epoch"], OFFICIAL["epoch"] / epoch],
            ["5 epochs and scoring", whole, OFFICIAL["all"], OFFICIAL["all"] / whole],
        ],
    )
