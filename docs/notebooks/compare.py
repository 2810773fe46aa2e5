# %% [markdown]
# # Compare
# Train two detectors over two seeds, record the runs in MLflow, and ask whether one is better.

# %%
import tempfile
from pathlib import Path

from mimii_pl.core.config import compose
from mimii_pl.run import run
from mimii_pl.tracking.compare import compare

folder = Path(tempfile.mkdtemp())
store = f"sqlite:///{folder}/mlflow.db"
world = [
    "machine=fan",
    "dataset=synthetic",
    f"dataset.root={folder}/synthetic",
    f"dataset.cache_dir={folder}/cache",
    "dataset.train_clips=20",
    "dataset.test_clips=6",
    "dataset.clip_seconds=2",
    "training.epochs=3",
    "report=brief",
    "efficiency.seconds=0",
    "trainer=cpu",
    f"trainer.logger.tracking_uri={store}",
]

# %%
for model in ("simple_ae", "spectrum"):
    for seed in (0, 1):
        run(compose([f"model={model}", f"seed={seed}", *world]), folder / f"{model}-{seed}")

# %% [markdown]
# `compare` is `mimii compare`: runs that differ only in their seed are one detector, and differences of AUC have
# 95 % intervals.

# %%
ranking = compare(tracking_uri=store, resamples=200, output=folder / "compare")[0]
for place, entry in enumerate(ranking.entries):
    print(
        f"{entry.detector:12} AUC {entry.means['auc']:.3f} ± {entry.means['auc_std']:.3f} over {len(entry.runs)} runs"
    )
    if place:
        difference, low, high = ranking.pairs[place, 0]
        print(f"  minus the first: {difference:+.3f} [{low:+.3f}, {high:+.3f}]")
print(*sorted(path.name for path in (folder / "compare").iterdir()))
