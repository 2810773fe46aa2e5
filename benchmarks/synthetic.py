"""Making 300 synthetic clips of 10 s, three quarters of them normal: under 20 s on two cores is the aim."""

import os
from pathlib import Path

from _bench import seconds, show, workplace

from mimii_pl.dataset._synthetic_machines import UNITS
from mimii_pl.dataset.synthetic import write_machine

PER_ID = {"train_clips": 45, "test_clips": 15}  # 4 IDs: 180 + 60 + 60 clips
CLIPS = 4 * (45 + 2 * 15)

with workplace() as folder:
    world = {**PER_ID, "snr_db": 6.0, "severity": 1.0, "clip_seconds": 10.0, "world_seed": 0}
    rows = []
    for machine in UNITS:
        took = seconds(lambda machine=machine: write_machine(Path(folder) / "world", machine, **world))
        rows.append([machine, took, CLIPS / took])
    show(f"{CLIPS} clips of 10 s on {os.cpu_count()} cores", ["machine", "s", "clips/s"], rows)
