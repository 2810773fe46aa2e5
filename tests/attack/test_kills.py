"""Killed at any moment, a command that is given again, or resumed, ends with what it would have ended with."""

import math
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from attack.arena import Arena
from attack.kills import (
    DECIDE,
    DECIDING,
    FIRST_TRAINING,
    RESCORE,
    RESCORING,
    RUN,
    SCORE,
    SCORING,
    TRAIN,
    TRAINING,
    Aim,
    content,
    continued,
    differences,
    forget_the_store,
    mimii_until,
    recorded,
)
from attack.outcome import KILLS, Attack, Expected, Outcome, Verdict, fault_of, judge_reason, judge_value

pytestmark = pytest.mark.slow
COMMANDS = {"first train": TRAIN, "train": TRAIN, "rescore": RESCORE, "score": SCORE, "decide": DECIDE}
AIMS = {"first train": FIRST_TRAINING, "train": TRAINING, "rescore": RESCORING, "score": SCORING, "decide": DECIDING}
PLACES = {  # what becomes of the directory of the killed run, and when it was killed
    "copied": TRAINING["the fourth checkpoint takes its place"],
    "moved": TRAINING["backend.npz takes its place"],
    "copied late": TRAINING["scores.csv takes its place"],
    "moved early": TRAINING["the second checkpoint takes its place"],
}
AIMED = sum(map(len, [*AIMS.values(), PLACES]))
SPENT = dict(zip(COMMANDS, (2.5, 1.5, 1.2, 0.6, 1.2), strict=True))  # seconds in which most of the work is done
RESULTS = {"score": Path("new.csv"), "decide": Path("outputs", "detector")}


@pytest.fixture(scope="module")
def uninterrupted(arena: Arena) -> dict:
    """What each command ends with when nobody kills it."""
    found = {}
    for name, command in COMMANDS.items():
        _prepare(arena, name)
        ended = arena.mimii(*command, memory=None)
        assert (ended.code, ended.deeds) == (0, []), ended.err
        found[name] = _result(arena, name)
    return found


def _prepare(arena: Arena, name: str) -> None:
    arena.restore()
    if name == "first train":
        forget_the_store(arena.here)


def _result(arena: Arena, name: str, run_dir: Path = RUN) -> dict:
    place = arena.here / RESULTS.get(name, run_dir)
    if place.is_file():
        return {place.name: place.read_bytes()}
    return content(place) | (recorded(arena.here) if COMMANDS[name] is TRAIN else {})


def _at_random(rng: np.random.Generator, count: int) -> Iterator[tuple[str, str, Aim]]:
    for _ in range(count):
        name = str(rng.choice(list(COMMANDS), p=(0.3, 0.4, 0.1, 0.1, 0.1)))
        delay = float(rng.uniform(0, SPENT[name]))
        yield name, f"after {delay:.3f} s", Aim(delay=delay)


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """Number of kills in all."""
    return request.config.getoption("--kills")


def _chosen(aims: dict[str, Aim], kills: int) -> list[tuple[str, Aim]]:
    """Choose from the aims of a test: all of them, or every n-th if there are more aims than kills."""
    return list(aims.items())[:: math.ceil(AIMED / max(1, kills))]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_at_each_stage(arena: Arena, uninterrupted, conclude, kills, name):
    chosen = _chosen(AIMS[name], kills)
    conclude([killed(arena, name, f"when {stage}", aim, uninterrupted[name]) for stage, aim in chosen])


def test_kills_at_random_moments(arena: Arena, uninterrupted, rng, conclude, kills):
    if kills <= AIMED:
        pytest.skip(f"--kills={kills}: only those beyond the {AIMED} stages come at random moments")
    conclude([killed(arena, *kill, uninterrupted[kill[0]]) for kill in _at_random(rng, kills - AIMED)])


def killed(arena: Arena, name: str, stage: str, aim: Aim, known: dict) -> Verdict:
    """Kill a command, continue it as the documents say, and compare."""
    attack = Attack(f"{KILLS}{name}", stage, Expected.READ)
    _prepare(arena, name)
    source = content(arena.here / "outputs" / "detector")
    first = arena.call(mimii_until, aim, COMMANDS[name], memory=None)
    if aim.event and first.code not in (-signal.SIGKILL, -signal.SIGALRM):
        return Verdict(attack, Outcome.WRONG, f"the aim was missed: {first.code} {first.err[-200:]}")
    return _compared(arena, attack, name, RUN, known, source)


def _compared(arena: Arena, attack: Attack, name: str, run_dir: Path, known: dict, source: dict) -> Verdict:
    command = continued(arena.here, COMMANDS[name]) if run_dir == RUN else ["resume", f"run={run_dir}"]
    ended = arena.mimii(*command, memory=None)
    if (fault := fault_of(ended, arena.touched())) is not None:
        return Verdict(attack, *fault)
    if ended.code != 0:
        return judge_reason(attack, ended.err[-300:])
    found = _result(arena, name, run_dir)
    changed = differences({key: found[key] for key in found if key in known or not key.startswith("MLflow")}, known)
    changed = f"other than without the kill: {changed}" if changed else ""
    if name != "decide" and not changed and content(arena.here / "outputs" / "detector") != source:
        changed = "it changed the run that it started from"
    return judge_value(attack, changed)


def test_a_run_directory_that_was_copied_or_moved(arena: Arena, uninterrupted, conclude, kills):
    conclude([transferred(arena, what, aim, uninterrupted["train"]) for what, aim in _chosen(PLACES, kills)])


def transferred(arena: Arena, what: str, aim: Aim, known: dict) -> Verdict:
    """Kill a training, copy or move its directory, resume it there, and compare; a copied one stays what it was."""
    _prepare(arena, "train")
    source = content(arena.here / "outputs" / "detector")
    arena.call(mimii_until, aim, TRAIN, memory=None)
    old, new = arena.here / RUN, Path("outputs", "other")
    if what.startswith("copied"):
        shutil.copytree(old, arena.here / new)
        known = {name: value for name, value in known.items() if not name.startswith("MLflow")}  # it may be another run
    else:
        os.rename(old, arena.here / new)
    before = _files(old)
    attack = Attack(f"{KILLS}train, elsewhere", f"{what}: {aim}", Expected.READ)
    verdict = _compared(arena, attack, "train", new, known, source)
    if verdict.outcome == Outcome.READ and _files(old) != before:
        return judge_value(attack, "it changed the directory that was copied or moved")
    return verdict


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
