# %% [markdown]
# # First run
# Train a small auto-encoder on synthetic fans, read its results, and score clips with it.

# %%
import tempfile
from pathlib import Path

import mimii_pl
from mimii_pl.core.config import compose
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores

folder = Path(tempfile.mkdtemp())
run_dir = folder / "run"

# %% [markdown]
# A run is a composed configuration and a directory. The options are those of `python train.py`; the world is small, so
# that it takes seconds.

# %%
cfg = compose(
    [
        "model=simple_ae",
        "training.epochs=5",
        "machine=fan",
        "dataset=synthetic",
        f"dataset.root={folder}/synthetic",
        f"dataset.cache_dir={folder}/cache",
        "dataset.train_clips=20",
        "dataset.test_clips=6",
        "dataset.clip_seconds=2",
        "logger=none",
        "trainer=cpu",
    ]
)
criterion = run(cfg, run_dir)
print(f"sensitivity to faults in held-out normal clips: {criterion:.3f}")

# %% [markdown]
# `results.csv` has one row per machine ID and metric. Read the AUC beside that of the clip's level alone.

# %%
for result in read_results(run_dir / "results.csv"):
    if result.metric in ("auc", "level_auc"):
        print(f"{result.machine} {result.id:5} {result.metric:10} {result.value:.3f}")

# %% [markdown]
# Load the run and score clips, here the least and the most anomalous one. Higher is more anomalous; `higher_than` is
# the share of held-out normal clips with a lower score.

# %%
scorer = mimii_pl.load(run_dir)
clips = sorted(read_scores(run_dir / "scores.csv"), key=lambda clip: clip.score)
for clip in (clips[0], clips[-1]):
    decision = scorer.decide(clip.file, machine_id=clip.id)
    name, called = Path(clip.file).name, "anomalous" if decision.anomalous[0] else "normal"
    print(f"{name}: score {decision.score[0]:.3f}, higher than {decision.higher_than[0]:.0%}, {called}")
