"""Hostile lists and tables: what is scored, what is trained on, and the labels of the challenge."""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from support import imitation

from attack.arena import MACHINE_ID, Arena, explained, rows_of, train_arguments
from attack.outcome import Verdict, judge
from attack.tables import TextFile, plain, text_files
from mimii_pl.dataset._dcase_names import attributes_of, read_list, read_table
from mimii_pl.dataset.table import Table

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_lists_to_score(arena: Arena, rng, share, conclude, suffix):
    rows = [[f"world/fan/test/normal_id_0{i}_0000000{n}.wav", f"id_0{i}"] for i in (0, 2) for n in range(2)]
    rows = [["path", "machine_id"], *rows] if suffix == "csv" else [row[:1] for row in rows]
    found = text_files(rng, f"lists: {suffix}", rows, ("list.",), ("id_99", "fan/id_00"))
    conclude([scored(arena, one, suffix) for one in islice(found, share(0.04))])


def scored(arena: Arena, one: TextFile, suffix: str) -> Verdict:
    """Score what a list names; every row of the result has a score that is known, or a reason."""
    arena.restore()
    (arena.here / f"list.{suffix}").write_bytes(one.content)
    ended = arena.mimii("score", "run=outputs/detector", f"input=list.{suffix}", "device=cpu", "output=new.csv")
    wrong = _wrong_scores(arena) if ended.code == 0 else ""
    return judge(one.attack, ended, wrong=wrong, touched=arena.touched())


def _wrong_scores(arena: Arena) -> str:
    rows = rows_of(arena.here / "new.csv")
    for row in rows:
        known = arena.scores.get(os.path.normpath(row["file"])) if row["machine_id"] == f"fan/{MACHINE_ID}" else None
        if not row["skipped"] and not row["score"]:
            return f"{row['file']} has neither a score nor a reason"
        if not row["skipped"] and known is not None and float(row["score"]) != pytest.approx(known, rel=1e-4):
            return f"the score of {row['file']} is {row['score']}, not {known}"
    return "" if rows else "nothing is scored, and nothing is said"


TABLE = [["path", "label", "split", "machine", "id"]]
TABLE += [[f"fan/train/normal_id_00_0000000{n}.wav", "normal", "train", "fan", "id_00"] for n in range(6)]
TABLE += [[f"fan/test/normal_id_00_0000000{n}.wav", "0", "validation", "fan", "id_00"] for n in range(2)]
TABLE += [[f"fan/test/anomaly_id_00_0000000{n}.wav", "abnormal", "test", "fan", "id_00"] for n in range(2)]


def test_tables_to_train_on(arena: Arena, rng, share, conclude):
    found = text_files(rng, "tables", TABLE, ("world", "label.csv"), ("maybe", "TRAIN", "normal "))
    conclude([called(arena, one, _discover, "world/label.csv") for one in islice(found, share(0.06))])


def _discover(path: str) -> None:
    clips = Table(root=path, machine="all", protocol=None, features=None).discover()  # type: ignore[arg-type]
    assert all(os.path.lexists(clip.path) for clip in clips)  # what is no file, the decoder names


def test_trainings_on_a_table(arena: Arena, rng, share, conclude):
    found = text_files(rng, "tables: training", TABLE, ("world", "label.csv", "protocol", "split", "clip"))
    conclude([trained(arena, one) for one in islice(found, share(0.02))])


def trained(arena: Arena, one: TextFile) -> Verdict:
    """Train on what a table lists."""
    arena.restore()
    (arena.here / "world" / "label.csv").write_bytes(one.content)
    options = ["dataset=table", "model=simple_ae", "training.epochs=1", "logger=none", "hydra.run.dir=run"]
    ended = arena.mimii(*train_arguments(*options), seconds=30)
    wrong = "" if ended.code or (arena.here / "run" / "scores.csv").is_file() else "it ended without scores"
    return judge(one.attack, ended, wrong=wrong, touched=arena.touched())


LABELS: list[list[str]] = [line.split(",") for line in imitation.DCASE2020_LIST.splitlines()]
CONDITIONS = [[f"section_03_{n:04d}.wav", str(n % 2)] for n in range(6)]
ATTRIBUTES = [
    ["file_name", "d1p", "d1v"],
    *([f"section_00_source_test_normal_000{n}.wav", "vel", "7"] for n in range(4)),
]


def _read_conditions(path: str) -> None:
    read_table(Path(path), "fan", "condition")


def _read_labels(path: str) -> None:
    read_list(Path(path))


def _read_attributes(path: str) -> None:
    attributes_of(Path(path).parent)


@pytest.mark.parametrize(
    ("name", "rows", "read"),
    [
        ("labels.csv", LABELS, _read_labels),
        ("conditions.csv", CONDITIONS, _read_conditions),
        ("attributes_00.csv", ATTRIBUTES, _read_attributes),
    ],
)
def test_labels_of_the_challenge(arena: Arena, rng, share, conclude, name, rows, read):
    found = text_files(rng, f"labels: {name}", rows, (name,))
    conclude([called(arena, one, read, f"world/{name}") for one in islice(found, share(0.02))])


def called(arena: Arena, one: TextFile, read: Callable[[str], None], place: str) -> Verdict:
    """Read a file by a function that raises an InputError if it refuses it."""
    arena.restore()
    (arena.here / place).write_bytes(one.content)
    ended = arena.call(explained, read, place)
    return judge(one.attack, ended, touched=arena.touched())


@pytest.mark.parametrize(
    ("name", "rows", "read"),
    [
        ("label.csv", TABLE, _discover),
        ("labels.csv", LABELS, _read_labels),
        ("conditions.csv", CONDITIONS, _read_conditions),
        ("attributes_00.csv", ATTRIBUTES, _read_attributes),
    ],
)
def test_the_healthy_ones_are_read(arena: Arena, name, rows, read):
    arena.restore()
    (arena.here / "world" / name).write_text(plain(rows))
    ended = arena.call(explained, read, f"world/{name}")
    assert (ended.code, ended.err) == (0, "")
