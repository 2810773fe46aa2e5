"""Two cores of this machine as a Ray cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest


@contextmanager
def ray_cluster() -> Iterator[ModuleType]:
    """Start Ray in a folder with a name short enough for its sockets; end it."""
    ray = pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init("local", num_cpus=2, object_store_memory=128 * 2**20, _temp_dir=folder, **quiet)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
