"""Launchers of sweeps, in sequence and in parallel; a run that fails does not affect the others."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support import world
from support.cli import mimii, without_mlflow

from mimii_pl.core import process
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts

ROOT = CONF.parent
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """A data set per seed, all the same one; that of seed 4 is missing."""
    folder = tmp_path_factory.mktemp("launched")
    world.write(folder / "world", train=6, test=2)
    for seed in (0, 1, 2, 3, 5):
        (folder / f"world{seed}").symlink_to(folder / "world")
    return folder


def sweep(worlds, tmp_path, *overrides, fresh=True):
    """`python train.py -m` on these worlds, and the sweep's directory.

    Args:
        fresh: in a new interpreter, for launchers that start processes of their own.
    """
    arguments = [
        "-m",
        "model=simple_ae",
        "trainer=smoke",
        "report=brief",
        "efficiency.seconds=0",
        "logger=none",
        f"dataset.root={worlds}/world${{seed}}",
        f"dataset.cache_dir={worlds}/cache",
        "dataset.download=false",
        f"hydra.sweep.dir={tmp_path}/sweep",
        *overrides,
    ]
    if fresh:
        paths = [str(ROOT), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**without_mlflow(), "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, ROOT / "train.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    else:
        done = mimii("train", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done, tmp_path / "sweep"


FAULTS = ("+augmentation.fault._target_=support.faults.BySeed", "+augmentation.fault.seed=${seed}")


def status(sweep_dir):
    """Return the end of each run, by number: `finished`, or the last line of its reason."""
    found = {}
    for child in sorted(path for path in sweep_dir.iterdir() if path.is_dir() and path.name[0] != "."):
        reason = child / "failed.txt"
        facts = read_facts(child)
        found[int(child.name.split("-")[0])] = (
            reason.read_text().strip().splitlines()[-1] if reason.is_file() else facts["status"]
        )
    return found


def check_failures(done, sweep_dir):
    """The leaderboard has the runs that are well, and names the others and why."""
    ended = status(sweep_dir)
    shown = " ".join(done.stdout.split())
    assert ended[0] == ended[max(ended)] == "finished"
    assert ended[1] == "ValueError: a fault in the middle of training, 64000000 numbers in hand"
    assert "in forward" in (sweep_dir / "1-simple_ae-fan" / "failed.txt").read_text()  # where it came from
    with open(sweep_dir / "leaderboard.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {f"{n}-simple_ae-fan" for n, how in ended.items() if how == "finished"}
    for number, how in ended.items():
        if how != "finished":
            assert f"failed {number}-simple_ae-fan: {' '.join(how.split())}" in shown
    return ended


@pytest.mark.slow
def test_runs_one_after_the_other(worlds, tmp_path):
    done, sweep_dir = sweep(worlds, tmp_path, "seed=0,1,2,4,5", *FAULTS, fresh=False)
    ended = check_failures(done, sweep_dir)
    assert "can't allocate memory" in ended[2]
    assert f"{worlds}/world4" in ended[3]
    kept = [line for line in done.stdout.splitlines() if line.startswith("kept of failed runs")]
    assert {line.split(":")[1].split()[0] for line in kept} == {"0"}  # what a failed run held is given back


@pytest.mark.slow
def test_joblib(worlds, tmp_path):
    two = "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    done, sweep_dir = sweep(worlds, tmp_path, *two, "seed=0,1,2,3,4,5", *FAULTS)
    ended = check_failures(done, sweep_dir)
    assert "can't allocate memory" in ended[2]
    assert "killed (signal 9)" in ended[3]
    assert f"{worlds}/world4" in ended[4]
    assert "5-simple_ae-fan has finished" in done.stdout
    assert "Epoch" not in done.stdout
    assert "━━" not in done.stdout  # bars of several runs would run into one another
    screen = (sweep_dir / "0-simple_ae-fan" / process.SCREEN).read_text()
    assert "simple_ae on fan" in screen
    threads = max(1, os.cpu_count() // 2) if "OMP_NUM_THREADS" not in os.environ else os.environ["OMP_NUM_THREADS"]
    assert f"threads: {threads}" in screen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [("submitit_local", []), ("ray", ["hydra.launcher.ray.init.num_cpus=2", "hydra.sweeper.max_batch_size=2"])],
)
def test_cluster(worlds, tmp_path, launcher, options):
    pytest.importorskip("hydra_plugins.hydra_" + launcher.split("_")[0] + "_launcher")
    options = [f"hydra/launcher={launcher}", *options, "seed=0,1,5", "threads=1"]
    done, sweep_dir = sweep(worlds, tmp_path, *options, *FAULTS)
    check_failures(done, sweep_dir)
    assert "threads: 1" in (sweep_dir / "0-simple_ae-fan" / process.SCREEN).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "extra"), [("ray", "ray"), ("submitit_local", "cluster"), ("submitit_slurm", "cluster")]
)
def test_a_launcher_that_is_not_installed(tmp_path, launcher, extra):
    without = """
import pkgutil, sys
found = pkgutil.iter_modules
gone = "hydra_ray_launcher", "hydra_submitit_launcher"
pkgutil.iter_modules = lambda *a, **b: (module for module in found(*a, **b) if not module.name.endswith(gone))
from mimii_pl.__main__ import train
train()
"""
    command = [sys.executable, "-c", without, "-m", "seed=0,1", f"hydra/launcher={launcher}", "logger=none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"is not installed: pip install 'mimii_pl[{extra}]'")
    assert "Traceback" not in done.stderr


def raise_it(error):
    raise StubbornError(500, "the server is gone") if error is None else error


class StubbornError(Exception):
    """Cannot be made again from what it keeps, as some libraries' are."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")


@pytest.mark.parametrize(
    ("error", "comes_as"),
    [
        (InputError("machine=x is not there"), InputError("machine=x is not there")),
        (MemoryError("of 4 TB"), MemoryError("of 4 TB")),
        (None, process.RunError("StubbornError: 500: the server is gone")),
    ],
)
@pytest.mark.slow
def test_what_a_run_raises_comes_out_of_its_process(tmp_path, error, comes_as):
    logs = OmegaConf.create({"version": 1, "disable_existing_loggers": False})
    with pytest.raises(type(comes_as), match=str(comes_as)) as caught:
        process.run_in_process(raise_it, tmp_path, logs, error)
    assert "in raise_it" in str(caught.value.__cause__)


@pytest.mark.slow
def test_a_process_that_ends_without_a_word(tmp_path):
    logs = OmegaConf.create({"version": 1, "disable_existing_loggers": False})
    with pytest.raises(process.KilledError, match="exit code 7"):
        process.run_in_process(os._exit, tmp_path, logs, 7)
    assert process.run_in_process(json.dumps, tmp_path, logs, [1]) == "[1]"


@pytest.mark.parametrize(
    ("overrides", "has", "lacks"),
    [
        (["model=simple_ae", "logger=none"], "torch", {"mlflow", "sklearn", "matplotlib"}),
        (["model=simple_ae"], "mlflow.store.tracking.sqlalchemy_store", {"sklearn", "matplotlib"}),
        (["task=classification", "model=svm", "logger=none"], "sklearn.metrics", {"mlflow", "matplotlib"}),
    ],
)
@pytest.mark.slow
def test_processes_of_a_sweep_share_the_imports_of_their_runs_alone(overrides, has, lacks):
    modules = process.preloaded(compose(overrides))
    imports = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True).stdout.split()
    assert has in loaded
    assert not lacks & set(loaded)
