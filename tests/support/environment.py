"""Virtual environments with packages of this one, and no others."""

import importlib.metadata as metadata
import subprocess
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make_environment(folder, names):
    """Make an environment with these distributions, and what they need, as links; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    for name in closure(names):
        for file in metadata.distribution(name).files or ():
            if ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).symlink_to(file.locate())
    return folder / "bin" / "python"


def closure(names):
    """Names of distributions and of all that they require."""
    found, left = set(), list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            required = map(Requirement, metadata.requires(name) or ())
            left += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found
