"""A file or folder that nobody may write, not even root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def shut(path: Path) -> Iterator[Path]:
    """Make a file or folder immutable while the block runs; by its mode where this process is not root.

    Skips the test where root cannot do so.
    """
    mode = path.stat().st_mode
    if os.geteuid():
        path.chmod(mode & 0o555)
    elif subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files, and modes do not bind root")
    try:
        yield path
    finally:
        if not os.geteuid():
            subprocess.run(["chattr", "-i", path], check=True)
        path.chmod(mode)
