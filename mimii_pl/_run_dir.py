"""The run directory: everything a finished run needs to score new sound, in formats that cannot execute code.

config.yaml       resolved configuration
run.json          status, machine IDs, clip length, best checkpoint, what the run cost
checkpoints/      best.ckpt, last.ckpt
features.npz      statistics of the training set, where the features use them
backend.npz       fitted back end, where there is one
embeddings.npz    embeddings of all clips, where the detector has one
thresholds.json   one per machine ID, and the held-out normal scores they come from
scores.csv        one row per test clip
challenge/        the same as the challenge wants them, for its data sets
predictions.csv   of a classifier, in place of scores: one row per test clip, probability of each class
identified.csv    which machine ID an ID classifier takes held-out normal clips for
results.csv       one row per machine ID (class) and metric
history.csv       losses per epoch
skipped.csv       recordings that could not be used
report.html       the page to look at
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from mimii_pl.errors import InputError

SCORING = (
    "config.yaml",
    "features.npz",
    "backend.npz",
    "thresholds.json",
)  # what scores depend on, with the checkpoint


def write_text(path: Path, text: str) -> None:
    """Write then rename, so that a reader never meets half a file."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Arrays by name as npz, written then renamed."""
    partial = path.with_name("partial-" + path.name)
    np.savez(partial, **arrays)
    os.replace(partial, path)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; refuses anything that would have to be unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def note(run_dir: Path, **facts) -> None:
    """Add facts to run.json."""
    write_text(run_dir / "run.json", json.dumps({**facts_of(run_dir), **facts}, indent=2))


def facts_of(run_dir: Path) -> dict:
    """What run.json says; empty before it is written."""
    path = run_dir / "run.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def parent_of(sweep_dir: Path) -> str | None:
    """MLflow's id of a sweep's parent run; None where it has none."""
    noted = sweep_dir / "sweep.json"
    return json.loads(noted.read_text()).get("mlflow_run_id") if noted.is_file() else None


def fingerprint(run_dir: Path) -> str:
    """Digest of all that scores depend on: the same for a copy of the run, another after training or deciding anew."""
    facts = facts_of(run_dir)
    if "checkpoint" not in facts:
        raise InputError(f"run={run_dir} is not finished: `python train.py resume={run_dir}` goes on with it")
    digest = hashlib.sha256(json.dumps([facts.get(name) for name in ("labels", "samples", "classes")]).encode())
    for name in (*SCORING, facts["checkpoint"]):
        digest.update(f"\n{name}\n".encode())
        if (run_dir / name).is_file():
            with open(run_dir / name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def find(run: str | Path, *, finished: bool = True, trained: bool = False, outputs: Path = Path("outputs")) -> Path:
    """The run directory that a user means: a path, or `latest`: the newest one under `outputs`.

    Args:
        finished: look for one that has ended; False: for one that has not.
        trained: leave out runs that only judged another one again.
    """
    if str(run).startswith("models:/"):
        raise InputError(
            f"run={run}: a registered model scores recordings (score.py, mimii_pl.load) and stays as it is; "
            "this needs the directory of a run: the version's tag run_dir in MLflow says which"
        )
    if str(run) != "latest":
        if not (Path(run) / "run.json").is_file():
            raise InputError(f"{run} is not a run directory: it holds no run.json (runs are kept in {outputs}/)")
        return Path(run)
    newest_first = sorted(outputs.rglob("run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first:
        facts = facts_of(path.parent)
        if facts["status"] == ("finished" if finished else "running") and not (trained and "rescored_from" in facts):
            return path.parent
    wanted = "finished run" if finished else "interrupted run"
    raise InputError(f"no {wanted} under {outputs.resolve()}; give a run directory instead of `latest`")
