"""AnoGAN's search over the latents of 100 clips: all clips at once against one clip at a time."""

import torch
from _bench import DEVICES, seconds, show, workplace

from mimii_pl.model.anogan import AnoGAN

CLIPS, STEPS, ALONE = 100, 1000, 2  # clips; steps of the search; clips timed one at a time

with workplace():
    for device in DEVICES:
        model = AnoGAN((1, 64, 64), 4, steps=STEPS, tolerance=-1.0).to(device).eval()  # no early stop: the same work
        crops = torch.randn(CLIPS, 1, 64, 64, device=device)
        model.search(crops[:1], 20)
        together = seconds(lambda: model.search(crops, STEPS), device) / CLIPS  # noqa: B023
        alone = seconds(lambda: [model.search(crops[i : i + 1], STEPS) for i in range(ALONE)], device) / ALONE  # noqa: B023
        show(
            f"{STEPS} steps for each crop of 64 bands x 64 frames, {device}",
            ["search", "s per clip", "clips/s", "times faster"],
            [
                ["one clip at a time", alone, 1 / alone, 1.0],
                [f"{CLIPS} at once", together, 1 / together, alone / together],
            ],
        )
