"""Building the audio cache against reading the same bytes; gathering batches from it."""

import shutil
from pathlib import Path

from _bench import data, medians, recordings, seconds, show, workplace

CLIPS = 300

with workplace() as folder:
    root = recordings(Path(folder), train=CLIPS)
    files = sorted(root.rglob("*.wav"))

    def build():
        shutil.rmtree(root / "cache", ignore_errors=True)
        data(root, "model=dense_ae")

    times = medians(
        {"read the bytes": lambda: [path.read_bytes() for path in files], "build the cache": build}, repeats=3
    )
    times["open the cache"] = seconds(lambda: data(root, "model=dense_ae"))
    _, module = data(root, "model=dense_ae")
    rows = module.rows("train")
    times["batches of whole clips"] = (
        medians({"": lambda: list(module.loader(rows))}, repeats=5)[""] * CLIPS / len(rows)
    )
    base = times["read the bytes"]
    show(
        f"{CLIPS} clips of 10 s, 16 kHz, PCM16",
        ["work", "s", "clips/s", "times reading the bytes"],
        [[name, value, CLIPS / value, value / base] for name, value in times.items()],
    )
