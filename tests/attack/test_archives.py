"""Hostile archives of data sets, unpacked; one that is unpacked has every byte of the healthy files."""

from itertools import islice
from pathlib import Path

import pytest

from attack.archives import CONTENT, Zip, healthy, zips
from attack.arena import Arena, explained
from attack.outcome import Verdict, judge
from mimii_pl.dataset import _archives
from mimii_pl.dataset._archives import Archive

pytestmark = pytest.mark.slow
ARCHIVE = Archive(1, "hostile.zip", "fan", "dev_data")
LIMIT = 100 * 2**20  # bytes


def test_unpacking(arena: Arena, rng, share, conclude):
    conclude([unpacked(arena, one) for one in islice(zips(rng), share(0.09))])


def unpacked(arena: Arena, one: Zip) -> Verdict:
    """Unpack an archive."""
    arena.restore()
    (arena.here / "hostile.zip").write_bytes(one.content)
    before = _others(arena.here)
    ended = arena.call(_unpack)
    touched = arena.touched() or ("files beside its folder" if _others(arena.here) != before else "")
    return judge(one.attack, ended, wrong=_wrong(arena.here / "data", len(one.content)), touched=touched)


def _unpack() -> None:
    root = Path("data")
    (root / "archives").mkdir(parents=True)
    explained(lambda: _archives.unpack(root, ARCHIVE, Path("hostile.zip"), limit=LIMIT))
    assert _archives.is_unpacked(root, ARCHIVE)
    _, faults = _archives.verify(root, ARCHIVE)
    assert not faults, faults


def _others(here: Path) -> set[Path]:
    return {path for path in here.rglob("*") if not path.is_relative_to(here / "data")} - {here / "home"}


def _wrong(root: Path, size: int) -> str:
    written = [path for path in root.rglob("*") if path.is_file() and path.parent.name != "archives"]
    if sum(path.stat().st_size for path in written) > LIMIT:
        return f"{size} bytes were unpacked to more than the limit"
    if odd := [path for path in root.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]:
        return f"{odd[0]} is no file"
    present = {str(path.relative_to(root / "dev_data")): path.read_bytes() for path in written}
    changed = [name for name, data in CONTENT.items() if name in present and present[name] != data]
    return f"{changed[0]} has another content" if changed else ""


def test_the_healthy_one_is_unpacked(arena: Arena):
    arena.restore()
    (arena.here / "hostile.zip").write_bytes(healthy())
    ended = arena.call(_unpack)
    assert (ended.code, ended.deeds) == (0, []), ended.err
    for name, data in CONTENT.items():
        assert (arena.here / "data" / "dev_data" / name).read_bytes() == data
