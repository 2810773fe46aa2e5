"""`trainer=ddp`: two processes on this machine's processor train what one does with batches twice as large."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from support import world

from mimii_pl.core.config import CONF
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results

ROOT = CONF.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("distributed") / "world", ids=(0, 2, 4), train=8, test=3)


def in_two(root, *overrides, fails=False):
    """`python train.py trainer=ddp` with two processes; what it printed."""
    command = [
        sys.executable,
        ROOT / "train.py",
        "report=brief",
        "efficiency.seconds=0",
        "logger=none",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "training.epochs=3",
        "threads=1",
        f"dataset.root={root}",
        f"dataset.cache_dir={root.parent}/cache",
        *overrides,
    ]
    done = subprocess.run(command, cwd=root.parent, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stdout + done.stderr


def in_one(root, run_dir, *overrides):
    run(world.configured(root, "training.epochs=3", *overrides), run_dir)
    return run_dir


def table(path, *key):
    """A csv's rows by some columns, in order: the last column but those as a number."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    value = "score" if "score" in rows[0] else "value"
    return [tuple(row[name] for name in key) for row in rows], np.array([float(row[value]) for row in rows])


def check_alike(one, two, root):
    """Losses to 1e-4 and scores to 1e-3 of their value (measured: 1e-5 and 1e-4), every test clip once."""
    for name, key, tolerance in (
        ("history.csv", ("epoch", "metric"), 1e-4),
        ("scores.csv", ("file", "machine", "id", "label"), 1e-3),
    ):
        (keys, values), (others, found) = table(one / name, *key), table(two / name, *key)
        assert others == keys
        np.testing.assert_allclose(found, values, rtol=tolerance)
    assert sorted(file for file, *_ in keys) == sorted(map(str, root.glob("fan/test/*.wav")))
    results = [[result[:3] for result in read_results(run_dir / "results.csv")] for run_dir in (one, two)]
    assert results[0] == results[1]


def test_batches_that_come_out_even(root, tmp_path):
    # 18 clips to train on, by 6; 6 clips to validate, 3 each; with batch norms, without noise of each process
    same = "model=complex_ssl", "augmentation=none", "protocol.validation=0.25"
    in_two(root, *same, "dataset.batch_size=3", f"hydra.run.dir={tmp_path}/two")
    check_alike(in_one(root, tmp_path / "one", *same, "dataset.batch_size=6"), tmp_path / "two", root)


def test_batches_and_clips_that_do_not_in_a_sweep(root, tmp_path):
    # 21 clips of 5 crops by 6; 3 clips to validate, 2 and 1
    in_two(root, "-m", "model=simple_ae", "seed=0,1", "dataset.batch_size=3", f"hydra.sweep.dir={tmp_path}/sweep")
    for seed in (0, 1):
        one = in_one(root, tmp_path / f"one{seed}", "model=simple_ae", f"seed={seed}", "dataset.batch_size=6")
        check_alike(one, tmp_path / "sweep" / f"{seed}-simple_ae-fan", root)


def test_fewer_held_out_clips_than_processes(root, tmp_path):
    said = in_two(root, "model=simple_ae", "trainer.devices=4", f"hydra.run.dir={tmp_path}/four", fails=True)
    assert "3 held-out clips cannot be shared by 4 processes: set trainer.devices=3" in said
