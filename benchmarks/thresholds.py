"""False alarms on normal test clips against the share that a threshold promises: synthetic fans, three seeds."""

import json
from pathlib import Path

import numpy as np
from _bench import show, workplace

from mimii_pl.core.config import compose
from mimii_pl.run import run
from mimii_pl.scoring.scores import read_scores
from mimii_pl.threshold._threshold import Thresholds
from mimii_pl.threshold.conformal import Conformal
from mimii_pl.threshold.gamma import Gamma
from mimii_pl.threshold.percentile import Percentile

SEEDS, QUANTILES = (0, 1, 2), (0.9, 0.95, 0.99)
WORLD = [
    "model=dense_ae",
    "training.epochs=8",
    "logger=none",
    "trainer=cpu",
    "report=brief",
    "dataset=synthetic",
    "dataset.train_clips=200",
    "dataset.test_clips=150",
    "dataset.clip_seconds=2",
    "protocol.validation=0.3",
]

with workplace() as place:
    rows = []
    for seed in SEEDS:
        folder = Path(place) / str(seed)
        own = [f"dataset.root={place}/synthetic", f"dataset.cache_dir={place}/cache", f"dataset.world_seed={seed}"]
        run(compose([*WORLD, *own, f"seed={seed}"]), folder)
        normal = [clip for clip in read_scores(folder / "scores.csv") if clip.label == 0]
        scores = np.array([clip.score for clip in normal])
        held = Thresholds(**json.loads((folder / "thresholds.json").read_text()))
        numbers = np.array([held.number(f"{clip.machine}/{clip.id}") for clip in normal])
        for quantile in QUANTILES:
            rules = [rule(quantile=quantile) for rule in (Gamma, Percentile, Conformal)]
            rates = [held.choose(rule).decide(scores, numbers).mean() for rule in rules]
            rows.append([str(seed), f"{100 * (1 - quantile):.0f} %", *(f"{100 * rate:.1f} %" for rate in rates)])
    show(
        f"false alarms among {len(normal)} normal test clips",
        ["seed", "promised", "gamma", "percentile", "conformal"],
        rows,
    )
