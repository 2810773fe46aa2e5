"""Fixtures of all tests, and a guard over global state."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hydra.core.global_hydra import GlobalHydra
from support import world

if os.environ.get("PYTEST_XDIST_WORKER"):  # each worker has a core, and so have the processes its tests start
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    # as nice as 15, its workers would wait for the tests beside them
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (spelled so by Ray)

# What a process that records behind a password leaves in its environment: put back, not complained about.
OF_A_RECORDED_RUN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make attack`."""
    group = parser.getgroup("attack", "hostile input and killed processes (tests/attack)")
    group.addoption("--attacks", type=int, default=100, help="hostile inputs, about")
    group.addoption("--kills", type=int, default=20, help="kills: one at each stage, or every other; more at random")
    group.addoption("--seed", type=int, default=0, help="of all that is random about them")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips and published scores; they are not part of the repository."""
    folder = Path(os.environ.get("MIMII_PL_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set MIMII_PL_SHARED to a folder with real/ and reference/")
    return folder


@pytest.fixture
def dcase_folder(tmp_path) -> Callable[..., Path]:
    """Writes a small folder in the DCASE 2020 layout, of noise that differs from file to file; returns its path."""

    def write(
        root=tmp_path / "dcase",
        *,
        machines=("fan",),
        ids=(0, 2),
        train=6,
        test=2,
        anomalies=2,
        rate=16000,
        seconds=0.5,
        channels=1,
        subtype="PCM_16",
        suffix="wav",
        seed=0,
    ) -> Path:
        rng = np.random.default_rng(seed)
        for machine in machines:
            for split, condition, count in (
                ("train", "normal", train),
                ("test", "normal", test),
                ("test", "anomaly", anomalies),
            ):
                folder = root / machine / split
                folder.mkdir(parents=True, exist_ok=True)
                for name in (f"{condition}_id_{id_:02d}_{index:08d}" for id_ in ids for index in range(count)):
                    noise = 0.1 * rng.standard_normal((round(seconds * rate), channels))
                    soundfile.write(folder / f"{name}.{suffix}", noise, rate, subtype=subtype)
        return root

    return write


@pytest.fixture
def open_data() -> Callable:
    """Builds and sets up the data module that a run on a folder with these overrides has (log-mel unless they say)."""

    def build(root: Path, *overrides: str):
        return world.data_of(world.configured(root, "model=dense_ae", *overrides))

    return build


@pytest.fixture(autouse=True)
def _global_state():
    """A test that leaves global state changed fails here, not in another test; the next one starts clean."""
    before = _state()
    yield
    after = _state()
    _restore(before)
    changed = [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not name.endswith(OF_A_RECORDED_RUN)
    ]
    assert not changed, f"this test leaves global state changed ({'; '.join(changed)}): use monkeypatch or a `with`"


def _state() -> dict:
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch threads": torch.get_num_threads(),
        "working directory": Path.cwd(),
        "Hydra initialised": GlobalHydra.instance().is_initialized(),
        **{f"environment {key}": value for key, value in os.environ.items() if key.startswith(("MLFLOW_", "HYDRA_"))},
    }


def _restore(state: dict) -> None:
    torch.set_default_dtype(state["torch default dtype"])
    if torch.get_num_threads() != state["torch threads"]:
        torch.set_num_threads(state["torch threads"])
    os.chdir(state["working directory"])
    if not state["Hydra initialised"]:
        GlobalHydra.instance().clear()
    for key in [key for key in os.environ if key.startswith(("MLFLOW_", "HYDRA_"))]:
        if f"environment {key}" not in state:
            del os.environ[key]
    os.environ.update({key.split()[1]: value for key, value in state.items() if key.startswith("environment ")})


LONGEST = (
    "test_every_command_runs",
    "test_cluster",
    "test_joblib",
    "test_batches",
    "test_ray_gives",
    "test_the_examples",
)


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make, less often, and not among the libraries: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that no worker ends with one of them alone."""
    items.sort(key=lambda item: not item.name.startswith(LONGEST))
