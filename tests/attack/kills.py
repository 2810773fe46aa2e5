"""Processes that are killed: at a random moment, or when they are about to do what an aim says."""

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from attack.arena import QUICK
from mimii_pl.__main__ import main

RUN = Path("outputs", "run")
WRITING = os.O_WRONLY | os.O_RDWR
FACTS = ("status", "labels", "samples", "epochs", "validation_loss", "held_out", "threshold", "false_alarms", "found")
FACTS += ("sensitivity", "objective", "checkpoint", "official", "parameters")
DESCRIBED = (
    "scores.csv",
    "results.csv",
    "thresholds.json",
    "history.csv",
    "skipped.csv",
    "backend.npz",
    "features.npz",
)
DESCRIBED += ("features.npz", "challenge/*", "embeddings.npz")


class Aim(NamedTuple):
    """Moment at which a process is killed.

    Attributes:
        event: audit event of the interpreter: `open` for writing, `os.rename` (that of `os.replace` too), ...; empty:
            the start of the process.
        path: pattern of a path that the event is about; of a renaming the new one.
        number: of the event among those that match, from 1.
        delay: seconds after it.
    """

    event: str = ""
    path: str = ""
    number: int = 1
    delay: float = 0


def mimii_until(aim: Aim, arguments: list[str]) -> None:
    """Run a command that is killed when the aim says so."""
    if not aim.event:
        _kill_in(aim.delay)
    seen = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal seen
        if event != aim.event or (event == "open" and not args[2] & WRITING):
            return
        target = args[1] if event == "os.rename" else args[0]
        if re.search(aim.path, os.fsdecode(target) if isinstance(target, str | bytes | os.PathLike) else ""):
            seen += 1
            if seen == aim.number:
                _kill_in(aim.delay)

    sys.addaudithook(watch)
    main(arguments)


def _kill_in(delay: float) -> None:
    if not delay:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.setitimer(signal.ITIMER_REAL, delay)  # its signal ends a process that does not handle it, at once


# --- commands that are killed, and those that continue them -------------------------------------------------------
TRAIN = ["train", *QUICK, "dataset.root=world", "dataset.cache_dir=cache", "model=simple_ae", "backend=knn"]
TRAIN += ["logger=mlflow", "training.epochs=3", "augmentation=[noise]", f"hydra.run.dir={RUN}"]
RESCORE = ["rescore", "run=outputs/detector", "backend=mahalanobis", "logger=mlflow", "report=brief"]
RESCORE += ["efficiency.seconds=0", f"hydra.run.dir={RUN}"]
SCORE = ["score", "run=outputs/detector", "input=world", "device=cpu", "shard_size=5", "output=new.csv"]
DECIDE = ["decide", "run=outputs/detector", "threshold=gamma", "report=brief"]


def continued(here: Path, command: list[str]) -> list[str]:
    """Return the command that continues a killed one, as the documents say."""
    if command[0] in ("train", "rescore") and (here / RUN / "run.json").is_file():
        return ["resume", f"run={RUN}"]
    return command


def _written(name: str, pattern: str, number: int = 1) -> dict[str, Aim]:
    """Return the aims at the writing of a file: when it is opened, and when it takes its place."""
    return {
        f"{name} is opened": Aim("open", pattern, number),
        f"{name} takes its place": Aim("os.rename", pattern, number),
    }


FIRST_TRAINING = {  # without a cache, and without a store of MLflow
    "the cache is opened": Aim("open", r"waves\.int16"),
    "the cache takes its place": Aim("os.rename", r"cache/\w+$"),
    "MLflow's database is opened": Aim("sqlite3.connect", r"mlflow"),
    **{f"MLflow's database is {age} s old": Aim("sqlite3.connect", "mlflow", delay=age) for age in (0.03, 0.1, 0.3)},
}
TRAINING = {
    **_written("config.yaml", r"run/config\.yaml"),
    **_written("run.json", r"run/run\.json"),
    "the first checkpoint takes its place": Aim("os.rename", r"checkpoints/\w+\.ckpt$", 1),
    "the second checkpoint takes its place": Aim("os.rename", r"checkpoints/\w+\.ckpt$", 2),
    "the fourth checkpoint takes its place": Aim("os.rename", r"checkpoints/\w+\.ckpt$", 4),
    **_written("the second history.csv", r"run/history\.csv", 2),
    **_written("backend.npz", r"run/backend\.npz"),
    "thresholds.json takes its place": Aim("os.rename", r"run/thresholds\.json"),
    "scores.csv takes its place": Aim("os.rename", r"run/scores\.csv"),
    "results.csv takes its place": Aim("os.rename", r"run/results\.csv"),
    "report.html is opened": Aim("open", r"run/report\.html"),
    "the last run.json takes its place": Aim("os.rename", r"run/run\.json", 7),
}
RESCORING = {
    "run.json takes its place": Aim("os.rename", r"run/run\.json"),
    "backend.npz takes its place": Aim("os.rename", r"run/backend\.npz"),
    "scores.csv takes its place": Aim("os.rename", r"run/scores\.csv"),
    "report.html is opened": Aim("open", r"run/report\.html"),
}
SCORING = {
    "the list is opened": Aim("open", r"list\.fresh\.csv"),
    "the second shard is opened": Aim("open", r"0000001\.csv"),
    "the third shard takes its place": Aim("os.rename", r"0000002\.csv$"),
    "the result takes its place": Aim("os.rename", r"/?new\.csv$"),
}
DECIDING = {
    name: Aim("os.rename", rf"detector/{name}")
    for name in (r"thresholds\.json", r"scores\.csv", r"results\.csv", r"config\.yaml", r"run\.json")
} | {"report": Aim("open", r"detector/report\.html")}


# --- what must be identical ---------------------------------------------------------------------------------------
def content(run_dir: Path) -> dict[str, Any]:
    """Describe what a run directory holds, without times and costs: name -> digest or value."""
    found: dict[str, Any] = {}
    for path in sorted(path for pattern in DESCRIBED for path in run_dir.glob(pattern)):
        found[str(path.relative_to(run_dir))] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    facts = json.loads((run_dir / "run.json").read_text())
    found |= {f"run.json: {name}": facts.get(name) for name in FACTS}
    for name in ("best", "last"):
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            state = torch.load(path, weights_only=True)
            weights = b"".join(value.numpy().tobytes() for value in state["state_dict"].values())
            found[f"{name}.ckpt"] = state["epoch"], hashlib.sha256(weights).hexdigest()[:12]
    return found


def differences(found: dict[str, Any], known: dict[str, Any]) -> str:
    """Name what differs; empty: nothing."""
    return ", ".join(sorted(name for name in found.keys() | known if found.get(name) != known.get(name)))


def recorded(here: Path) -> dict[str, Any]:
    """Describe what MLflow's store holds: how many runs have ended how, and the points of those that have finished."""
    store = sqlite3.connect(here / "mlruns" / "mlflow.db")
    try:
        ends = store.execute("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status").fetchall()
        points = store.execute(
            "SELECT key, step, count(*) FROM metrics JOIN runs USING (run_uuid) WHERE status = 'FINISHED' "
            "GROUP BY key, step ORDER BY key, step"
        ).fetchall()
    finally:
        store.close()
    return {"MLflow: ends of runs": ends, "MLflow: points": points}


def forget_the_store(here: Path) -> None:
    """Remove MLflow's store, as on the day of a user's first run, and the cache."""
    for name in ("mlruns", "cache"):
        shutil.rmtree(here / name)
