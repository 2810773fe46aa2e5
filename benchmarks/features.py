"""Each representation with each engine, on each device there is."""

import torch
from _bench import DEVICES, medians, show, workplace

from mimii_pl.core.config import build, compose

CLIPS = 32

with workplace():
    for device in DEVICES:
        wave = torch.randn(CLIPS, 160_000, device=device)
        rows = []
        for name in ("log_mel", "stft", "complex_stft"):
            work = {}
            for engine in ("torch", "nnaudio"):
                features = build(compose([f"features={name}", f"features.engine={engine}"]).features)
                features.to_device(device)
                work[engine] = lambda features=features, wave=wave: features(wave)
            times = medians(work, repeats=5, device=device)
            rows += [[name, engine, value, CLIPS / value, value / times["torch"]] for engine, value in times.items()]
        show(f"{CLIPS} clips of 10 s on {device}", ["features", "engine", "s", "clips/s", "times torch"], rows)
