# %% [markdown]
# # Your own machine
# A folder of recordings of a healthy machine is enough. Here the recordings are made up: a hum with harmonics in noise.

# %%
import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.run import run

RATE, SECONDS = 16000, 2  # Hz, s
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)


def recording(*, rattle: float = 0.0) -> np.ndarray:
    """A hum near 120 Hz with six harmonics in noise, [T]; `rattle`: amplitude of a modulated tone at 3 kHz."""
    t = np.arange(SECONDS * RATE) / RATE
    hum = sum(np.sin(2 * np.pi * k * rng.uniform(118, 122) * t + rng.uniform(0, 6)) / k for k in range(1, 7))
    noise = 0.3 * rng.standard_normal(len(t))
    return 0.1 * (hum + noise + rattle * np.sin(2 * np.pi * 3000 * t) * (np.sin(2 * np.pi * 11 * t) > 0))


# %% [markdown]
# Folders name the machine ID. Recordings in no folder called `normal` or `anomaly` are taken as normal.

# %%
for press in ("press1", "press2"):
    (folder / "recordings" / press).mkdir(parents=True)
    for number in range(40):
        soundfile.write(folder / "recordings" / press / f"{number:03}.wav", recording(), RATE)

run_dir = folder / "run"
cfg = compose(
    [
        "model=simple_ae",
        "training.epochs=8",
        "dataset=folder",
        f"dataset.root={folder}/recordings",
        f"dataset.cache_dir={folder}/cache",
        "protocol.validation=0.3",
        "threshold.quantile=0.95",
        "logger=none",
        "trainer=cpu",
    ]
)
criterion = run(cfg, run_dir)

# %% [markdown]
# There is no anomaly and therefore no AUC. The sensitivity tells how slight a fault in a held-out recording is
# noticed, and `run.json` counts the normal test clips that would raise an alarm.

# %%
facts = json.loads((run_dir / "run.json").read_text())
alarms, clips = facts["false_alarms"]
print(f"sensitivity {criterion:.3f}: notices {facts['notices']}")
print(f"{alarms} of {clips} normal test clips called anomalous")

# %% [markdown]
# New recordings, one healthy and one with a rattle:

# %%
scorer = mimii_pl.load(run_dir)
waves = np.stack([recording(), recording(rattle=0.5)]).astype(np.float32)
decision = scorer.decide(waves, rate=RATE, machine_id="press1")
for name, score, share, anomalous, p in zip(("healthy", "rattle"), *decision, strict=True):
    word = "ALARM" if anomalous else "normal"
    print(f"{name:8} score {score:7.3f}  higher than {share:4.0%} of held-out clips, p = {p:.2f}  {word}")
assert decision.score[1] > decision.score[0]
