"""Hostile run directories and registered models, given to every command that reads one."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.confined import SECRET, Ended

from attack import checkpoints, configs, estimators, stored
from attack.arena import MACHINE_ID, Arena, explained, rows_of, scores_of
from attack.damage import damage
from attack.outcome import Attack, Change, Expected, Verdict, fault_of, judge, judge_reason
from mimii_pl.__main__ import main

pytestmark = pytest.mark.slow
RUN = Path("outputs", "detector")
NAMES = ("outputs/detector", "outputs/classifier", "outputs/sweep", "outputs/best", "models:/fan")  # of runs
SUFFIXES = (".yaml", ".json", ".csv", ".npz", ".ckpt")  # of what a run directory is read from
CLIP = f"world/fan/test/normal_{MACHINE_ID}_00000000.wav"
COMMANDS = ("score", "load", "decide", "rescore", "resume", "register", "registry", "retrain")
WEIGHTS = (0.3, 0.15, 0.12, 0.12, 0.15, 0.06, 0.06, 0.04)


def _spoiled(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    files = [path for path in run_dir.rglob("*") if path.suffix in SUFFIXES and path.stat().st_size]
    path = sorted(files)[rng.integers(len(files))]
    return Change(damage(rng, path), valued=path.suffix in (".npz", ".ckpt"))  # text has no checksum


def _config(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    return configs.hostile(rng, run_dir / "config.yaml", elsewhere)


Spoiler = Callable[[np.random.Generator, Path, Path], Change]
KINDS: dict[
    str, tuple[Spoiler, float, tuple[str, ...]]
] = {  # kind -> spoiler, share of all attacks, words of a refusal
    "config.yaml": (_config, 0.1, ("config", "_target_", *NAMES)),
    "facts": (stored.facts, 0.03, ("run.json", *NAMES)),
    "thresholds": (stored.thresholds, 0.02, ("thresholds.json", *NAMES)),
    "checkpoints": (checkpoints.checkpoint, 0.04, (".ckpt", "run.json", *NAMES)),
    "arrays": (stored.arrays, 0.04, (".npz", *NAMES)),
    "estimators": (estimators.estimators, 0.05, ("npz", "ckpt", "back end", "classifier")),
    "damaged files": (_spoiled, 0.05, (*SUFFIXES, *NAMES)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_run_directory(arena: Arena, rng, share, conclude, kind):
    spoil, part, words = KINDS[kind]
    conclude([attacked(arena, rng, kind, spoil, words) for _ in range(share(part))])


def attacked(arena: Arena, rng: np.random.Generator, kind: str, spoil: Spoiler, words: tuple[str, ...]) -> Verdict:
    """Change a run directory, and give it to a command."""
    arena.restore()
    command = str(rng.choice(COMMANDS, p=WEIGHTS))
    name = "detector" if rng.random() < 0.8 or command not in ("score", "load", "resume") else "classifier"
    run = RUN.with_name(name)
    if kind == "thresholds" and name == "classifier":
        run = RUN
    change = spoil(rng, arena.here / run, arena.elsewhere)
    arena.expect_elsewhere()
    expected = Expected.EITHER if kind in NOT_USED.get(command, ()) else change.expected
    place = change.name.split(" = ")[0]
    words = (*words, place, f"{place.rpartition('.')[2]}=")
    attack = Attack(f"runs: {kind}", f"{change.name}, {command} {run.name}", expected, words)
    ended = arena.call(*COMMAND_OF[command](arena, run), seconds=30)
    touched = arena.touched() or leaked(arena)
    if ended.code == 0 and fault_of(ended, touched) is None and (reason := said(arena, command, ended, words)):
        return judge_reason(attack, reason)
    wrong = wrong_scores(arena, command, run) if ended.code == 0 and change.valued else ""
    return judge(attack, ended, wrong=wrong, touched=touched)


NOT_USED = {  # command -> kinds of what it makes anew, or does not read: it need not notice what is wrong with them
    "decide": ("estimators",),
    "rescore": ("thresholds", "arrays", "estimators"),
    "resume": ("facts", "thresholds", "arrays", "estimators"),
    "retrain": ("facts", "thresholds", "checkpoints", "arrays", "estimators"),
}


def said(arena: Arena, command: str, ended: Ended, words: tuple[str, ...]) -> str:
    """Return what a command that succeeded said of its input; empty: nothing.

    `score` skips a recording whose score is no number, and `resume` falls back to another checkpoint, or none.
    """
    table = arena.here / "new.csv"
    if command in ("score", "registry") and table.is_file() and (reason := rows_of(table)[0]["skipped"]):
        return f"{words[0]}: {reason}"
    told = [line for line in (ended.out + ended.err).splitlines() if "damaged" in line]
    return next((line for line in told if command == "resume" and any(word in line for word in words)), "")


def leaked(arena: Arena) -> str:
    """Describe where a variable of the environment was stored."""
    for path in (arena.here / "outputs").rglob("*"):
        text = path.suffix in (".yaml", ".json", ".csv", ".html") and path.is_file() and not path.is_symlink()
        if text and SECRET.lower() in path.read_text(errors="replace"):
            return f"a variable of the environment is in {path.name}"
    return ""


# --- commands: the function that is called, and its arguments -----------------------------------------------------
def _score(arena: Arena, run: Path) -> tuple:
    return main, ["score", f"run={run}", f"input={CLIP}", "device=cpu", "output=new.csv"]


def _load(arena: Arena, run: Path) -> tuple:
    return explained, _load_and_score, str(run)


def _load_and_score(run: str) -> None:
    import mimii_pl

    scorer = mimii_pl.load(run, device="cpu")
    if scorer.classes is not None:
        scorer.classify(CLIP)
    else:
        score = scorer.decide(CLIP, machine_id=MACHINE_ID).score[0]
        Path("new.csv").write_text(f"file,score,skipped\n{CLIP},{score},\n")


def _decide(arena: Arena, run: Path) -> tuple:
    return main, ["decide", f"run={run}", "threshold=gamma", "report=brief"]


def _rescore(arena: Arena, run: Path) -> tuple:
    options = ["backend=gmm", "logger=none", "report=brief", "efficiency.seconds=0", "hydra.run.dir=outputs/again"]
    return main, ["rescore", f"run={run}", *options]


def _resume(arena: Arena, run: Path) -> tuple:
    return main, ["resume", f"run={run}", "trainer.max_epochs=3"]


def _register(arena: Arena, run: Path) -> tuple:
    return main, ["register", f"run={run}", "name=other", "force=true"]


def _registry(arena: Arena, run: Path) -> tuple:
    """Register the run as it is, by hand, and score with the registered model."""
    place = arena.here / "registered" / ("0" * 16)
    shutil.copytree(arena.here / run, place, symlinks=True, ignore=_no_fifos)
    with sqlite3.connect(arena.here / "mlruns" / "mlflow.db") as store:
        store.execute("UPDATE model_versions SET source = ?, storage_location = ?", [place.as_uri()] * 2)
    store.close()
    return main, ["score", "run=models:/fan@champion", f"input={CLIP}", "device=cpu", "output=new.csv"]


def _retrain(arena: Arena, run: Path) -> tuple:
    sweep = arena.here / "outputs" / "sweep"
    shutil.copytree(arena.here / run, sweep / "0-simple_ae-fan", symlinks=True, ignore=_no_fifos)
    (sweep / "sweep.json").write_text("{}")
    return main, ["retrain", "outputs/sweep", "seed=0", "logger=none", "report=brief", "trainer.max_epochs=1"]


def _no_fifos(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not os.path.isfile(os.path.join(folder, name)) and name != "checkpoints"]


COMMAND_OF: dict[str, Callable[[Arena, Path], tuple]] = {
    "score": _score,
    "load": _load,
    "decide": _decide,
    "rescore": _rescore,
    "resume": _resume,
    "register": _register,
    "registry": _registry,
    "retrain": _retrain,
}


def wrong_scores(arena: Arena, command: str, run: Path) -> str:
    """Compare what a command that succeeded has written with what the untouched run gives."""
    if run.name == "classifier":
        return ""
    path = {"decide": arena.here / run / "scores.csv", "rescore": arena.here / "outputs" / "again" / "scores.csv"}
    if command in path:
        found, known = scores_of(path[command]), scores_of(arena.pristine / RUN / "scores.csv")
        return "" if found == pytest.approx(known, rel=1e-4) else "the scores of the run are others"
    if command not in ("score", "load", "registry"):
        return ""
    (row,) = rows_of(arena.here / "new.csv")
    score = float(row.get("score") or "nan")
    return "" if score == pytest.approx(arena.scores[CLIP], rel=1e-4) else f"the score is {score}"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_untouched_run_directory(arena: Arena, command):
    arena.restore()
    ended = arena.call(*COMMAND_OF[command](arena, RUN), seconds=30)
    assert (ended.code, ended.deeds, wrong_scores(arena, command, RUN)) == (0, [], ""), ended.err


def _sources(rng: np.random.Generator, elsewhere: Path) -> str:
    choices = [str(elsewhere), elsewhere.as_uri(), f"{elsewhere.as_uri()}/precious.ckpt", "../../..", "file:///nothing"]
    choices += ["", "models:/fan/1", "models:/fan@champion", "runs:/0/x", "http://127.0.0.1:9/x"]
    choices += ["file:///dev/zero", "\0", "mlflow-artifacts:/x", "git://x", "file://host/x", "x" * 400]
    return str(rng.choice(choices))


def test_a_registry_that_points_elsewhere(arena: Arena, rng, share, conclude):
    verdicts = []
    for _ in range(share(0.01)):
        arena.restore()
        _, arguments = _registry(arena, RUN)
        source = _sources(rng, arena.elsewhere)
        store = sqlite3.connect(arena.here / "mlruns" / "mlflow.db")
        store.execute("UPDATE model_versions SET source = ?, storage_location = ?", [source] * 2)
        store.commit()
        store.close()
        attack = Attack("registry", f"source = {source:.60}", Expected.REFUSED, ("models:/fan",))
        verdicts.append(judge(attack, arena.call(main, arguments, seconds=30), touched=arena.touched()))
    conclude(verdicts)
