"""Damage that any file of a run directory may have, and values that no key of it expects."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HUGE_NUMBER = "9" * 5000  # more digits than Python converts
NESTING = 20_000  # brackets within one another
ODD_VALUES: tuple[Any, ...] = (-5, 0, 1, 10**12, 1e30, float("nan"), float("inf"), "", "x", "../../x", "/", True, None)
ODD_VALUES += ([], {}, [-1], [[]], {"a": 1}, ["x"] * 3, "\0", "\ud800", "${oc.env:HOME}", "1" * 400)


def damage(rng: np.random.Generator, path: Path) -> str:
    """Damage a file that is not empty in a random way; return in which."""
    kind = str(rng.choice(list(DAMAGES)))
    return f"{path.name} {kind}{DAMAGES[kind](rng, path)}"


def _cut(rng: np.random.Generator, path: Path) -> str:
    content = path.read_bytes()
    kept = int(rng.integers(len(content)))
    path.write_bytes(content[:kept])
    return f" after {kept} bytes"


def _flip(rng: np.random.Generator, path: Path) -> str:
    content = bytearray(path.read_bytes())
    places = rng.integers(0, len(content), rng.integers(1, 20))
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f" at {sorted(map(int, places))}"


def _blank(rng: np.random.Generator, path: Path) -> str:
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content)))
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(content)
    return f" from {start} on, 4096 bytes"


def _replace(make: Callable[[Path], Any]) -> Callable[[np.random.Generator, Path], str]:
    def replace(rng: np.random.Generator, path: Path) -> str:
        path.unlink()
        make(path)
        return ""

    return replace


def _random(rng: np.random.Generator, path: Path) -> str:
    path.write_bytes(rng.bytes(int(rng.integers(1, 5000))))
    return ""


DAMAGES: dict[str, Callable[[np.random.Generator, Path], str]] = {
    "cut": _cut,
    "with flipped bits": _flip,
    "with zeros": _blank,
    "of random bytes": _random,
    "missing": _replace(lambda path: None),
    "empty": _replace(Path.touch),
    "a folder": _replace(Path.mkdir),
    "a fifo": _replace(os.mkfifo),
    "a link to itself": _replace(lambda path: path.symlink_to(path)),
    "a link to nothing": _replace(lambda path: path.symlink_to("nothing")),
    "a link to /dev/zero": _replace(lambda path: path.symlink_to("/dev/zero")),
    "in UTF-16": _replace(lambda path: path.write_text("{}", "utf-16")),
    "of NUL": _replace(lambda path: path.write_bytes(bytes(1000))),
}
