"""Fixtures of all tests, and a guard over global state."""

import os
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

if os.environ.get("PYTEST_XDIST_WORKER"):
    torch.set_num_threads(1)  # each worker has a core


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real clips and published scores; they are not part of the repository."""
    folder = Path(os.environ.get("MIMII_PL_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set MIMII_PL_SHARED to a folder with real/ and reference/")
    return folder


@pytest.fixture(autouse=True)
def _global_state():
    """A test that leaves global state changed fails here, not in another test."""
    before = _state()
    yield
    changed = [name for name, value in _state().items() if value != before[name]]
    GlobalHydra.instance().clear()
    assert not changed, f"this test leaves {changed} changed: restore it (monkeypatch, a context manager)"


def _state() -> dict:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's threads": torch.get_num_threads(),
        "working directory": Path.cwd(),
        "Hydra": GlobalHydra.instance().is_initialized(),
        "environment": {key: value for key, value in os.environ.items() if key.startswith("HYDRA_")},
    }
