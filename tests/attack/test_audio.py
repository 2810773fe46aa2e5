"""Hostile recordings among healthy ones, scored and trained on."""

import csv
from itertools import islice
from pathlib import Path

import pytest

from attack.arena import MACHINE_ID, Arena, one_by_one, reasons_of, scores_of, train_arguments
from attack.audio import Recording, encoded, recordings
from attack.outcome import Expected, Verdict, fault_of, judge_reason, judge_value

pytestmark = pytest.mark.slow
BATCH = 50
FEW = 12  # hostile recordings of one training


def test_scoring(arena: Arena, rng, share, conclude):
    hostile = list(islice(recordings(rng), share(0.2)))
    batches = [hostile[start : start + BATCH] for start in range(0, len(hostile), BATCH)]
    conclude([verdict for batch in batches for verdict in one_by_one(lambda items: scored(arena, items), batch)])


def scored(arena: Arena, batch: list[Recording]) -> list[Verdict] | None:
    """Score a folder of them; None if it ended as it must not, and it is not known by which of them."""
    arena.restore()
    folder = arena.here / "sounds"
    folder.mkdir()
    names = [f"{number:04d}_{MACHINE_ID}.{one.suffix}" for number, one in enumerate(batch)]
    for name, one in zip(names, batch, strict=True):
        one.write(folder / name)
    ended = arena.mimii("score", "run=outputs/detector", "input=sounds", "device=cpu", "output=new.csv", seconds=20)
    fault = fault_of(ended, arena.touched())
    if fault is None and ended.code != 0:
        fault = judge_reason(batch[0].attack, "")[1:]  # one bad recording must not end the command
    if fault is not None:
        return [Verdict(batch[0].attack, *fault)] if len(batch) == 1 else None
    scores, reasons = scores_of(arena.here / "new.csv"), reasons_of(arena.here / "new.csv")
    return [_verdict(arena, one, f"sounds/{name}", scores, reasons) for name, one in zip(names, batch, strict=True)]


def _verdict(arena: Arena, one: Recording, name: str, scores: dict[str, float], reasons: dict[str, str]) -> Verdict:
    if name not in scores:
        return judge_value(one.attack, "it is left out without a word")
    if reasons[name]:
        return judge_reason(one.attack, reasons[name])
    other = one.valued and scores[name] != pytest.approx(arena.healthy, rel=1e-4)
    return judge_value(one.attack, f"its score is {scores[name]}, not {arena.healthy}" if other else "")


def test_training(arena: Arena, rng, share, conclude):
    hostile = list(islice(recordings(rng), share(0.08)))
    assert trained(arena, []) == []
    healthy = scores_of(arena.here / "run" / "scores.csv")
    assert len(healthy) == 12
    batches = [hostile[start : start + FEW] for start in range(0, len(hostile), FEW)]
    verdicts = [one_by_one(lambda items: trained(arena, items, healthy), batch) for batch in batches]
    conclude([verdict for batch in verdicts for verdict in batch])


def trained(arena: Arena, batch: list[Recording], healthy: dict[str, float] | None = None) -> list[Verdict] | None:
    """Train with them among the test clips, and those that must be refused among the training clips too.

    Args:
        healthy: file -> score of the healthy clips in a training without them.
    """
    arena.restore()
    folder = arena.here / "sounds"
    for split, condition, source in (
        ("train", "normal", "train/normal"),
        ("validation", "normal", "test/normal"),
        ("test", "anomaly", "test/anomaly"),
        ("test", "normal", "train/normal"),
    ):
        place = folder / split / condition
        place.mkdir(parents=True)
        head, _, start = source.partition("/")
        for path in sorted((arena.here / "world" / "fan" / head).glob(f"{start}*"))[:6]:
            (place / path.name).write_bytes(path.read_bytes())
    places: list[list[Path]] = []
    for number, one in enumerate(batch):
        splits = ("train", "validation", "test") if one.attack.expected == Expected.REFUSED else ("test",)
        places.append([Path("sounds", split, "normal", f"hostile_{number:03d}.{one.suffix}") for split in splits])
        for place in places[-1]:
            one.write(arena.here / place)
    options = ["dataset=folder", "dataset.root=sounds", "dataset.long=cut", "protocol=official", "model=simple_ae"]
    options += ["backend=gmm"]
    ended = arena.mimii(*train_arguments(*options, "training.epochs=1", "logger=none", "hydra.run.dir=run"), seconds=30)
    fault = fault_of(ended, arena.touched())
    if fault is None and ended.code != 0 and batch:
        fault = judge_reason(batch[0].attack, "")[1:]
    if fault is not None:
        return [Verdict(batch[0].attack, *fault)] if len(batch) == 1 else None
    assert ended.code == 0, ended.err
    scores = scores_of(arena.here / "run" / "scores.csv")
    with open(arena.here / "run" / "skipped.csv", newline="", errors="surrogateescape") as file:
        reasons = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    changed = healthy is not None and {name: scores.get(name) for name in healthy} != pytest.approx(healthy, rel=1e-9)
    return [_training_verdict(one, names, reasons, changed) for one, names in zip(batch, places, strict=True)]


def _training_verdict(one: Recording, places: list[Path], reasons: dict[str, str], changed: bool) -> Verdict:
    if changed:
        return judge_value(one.attack, "the scores of healthy clips are others, beside it or another of its batch")
    skipped = [reasons[str(place)] for place in places if str(place) in reasons]
    if len(skipped) == len(places):
        return judge_reason(one.attack, skipped[0])
    return judge_value(one.attack, "" if not skipped else f"only {len(skipped)} of {len(places)} copies are skipped")


def test_the_healthy_sound_has_the_same_score_in_every_container(arena: Arena):
    arena.restore()
    for container, suffix in (("WAV", "wav"), ("FLAC", "flac")):
        (arena.here / f"a_{container}.{suffix}").write_bytes(encoded(container))
    ended = arena.mimii("score", "run=outputs/detector", "input=.", f"machine_id={MACHINE_ID}", "output=new.csv")
    assert ended.code == 0, ended.err
    scores = scores_of(arena.here / "new.csv")
    assert scores["a_WAV.wav"] == scores["a_FLAC.flac"] == pytest.approx(arena.healthy)
