"""A run that monitors listen with, and its sound."""

import numpy as np
import pytest
from support import world

from mimii_pl.run import run

SECONDS = 1.0  # of a clip


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run that was trained on clips of 1 s."""
    folder = tmp_path_factory.mktemp("heard")
    root = world.write(folder / "world", train=24, test=2, seconds=SECONDS)
    run(world.configured(root, "model=spectrum", "backend=knn", "task.criterion_clips=12"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def day() -> np.ndarray:
    """Sound of the machine id_00, int16 [T]: 20 s healthy, 10 s with a fault, 20 s healthy."""
    rng = np.random.default_rng(1)
    parts = [world.chord(rng, 0, anomalous=20 <= second < 30, seconds=SECONDS) for second in range(50)]
    return (np.concatenate(parts) * 32768).astype(np.int16)
