"""The run directory: everything a finished run needs to score new recordings, in formats that cannot execute code.

config.yaml       resolved configuration
run.json          status, machine IDs, clip length, best checkpoint, costs
run.log           messages of the run, with times
checkpoints/      best.ckpt, last.ckpt
features.npz      statistics of the training set, where the features use them
backend.npz       fitted back end, where there is one
embeddings.npz    embeddings of all clips, where the detector has one
thresholds.json   one per machine ID, and the held-out normal scores they were chosen from
scores.csv        one row per test clip
challenge/        the same in the format of the DCASE challenge, for its data sets
predictions.csv   of a classifier instead of scores: one row per test clip, with the probability of each class
identified.csv    machine ID that an ID classifier assigns to each held-out normal clip
results.csv       one row per machine ID (class) and metric
history.csv       losses per epoch
skipped.csv       recordings that could not be used
report.html       the report
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text

# all that scoring needs besides the checkpoint
SCORING_FILES = ("config.yaml", "features.npz", "backend.npz", "thresholds.json")


def write_facts(run_dir: Path, **facts: Any) -> None:
    """Add facts to run.json."""
    write_text(run_dir / "run.json", json.dumps({**read_facts(run_dir), **facts}, indent=2))


def read_facts(run_dir: Path) -> dict[str, Any]:
    """Read run.json; return {} before it is written."""
    path = run_dir / "run.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def parent_run_id(sweep_dir: Path) -> str | None:
    """Read the MLflow ID of a sweep's parent run; None if the sweep has none."""
    path = sweep_dir / "sweep.json"
    return json.loads(path.read_text()).get("mlflow_run_id") if path.is_file() else None


def run_fingerprint(run_dir: Path) -> str:
    """Return a SHA-256 digest of everything that scores depend on.

    A copy of the run has the same digest; training it again or choosing other thresholds changes it.

    Raises:
        InputError: the run is not finished.
    """
    facts = read_facts(run_dir)
    if "checkpoint" not in facts:
        raise InputError(f"run={run_dir} is not finished: `mimii resume {run_dir}` continues it")
    digest = hashlib.sha256(json.dumps([facts.get(name) for name in ("labels", "samples", "classes")]).encode())
    for name in (*SCORING_FILES, facts["checkpoint"]):
        digest.update(f"\n{name}\n".encode())
        if (run_dir / name).is_file():
            with open(run_dir / name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def find_run(run: str | Path, *, finished: bool = True, trained: bool = False, outputs: Path = Path("outputs")) -> Path:
    """Find a run directory by its path, or `latest`: the newest one under `outputs`.

    Args:
        finished: `latest` is a finished run; False: an interrupted one.
        trained: `latest` skips runs that only rescored another one.

    Raises:
        InputError: there is no such run.
    """
    if str(run).startswith("models:/"):
        raise InputError(
            f"run={run}: a registered model only scores recordings (mimii score, mimii_pl.load) and never changes. "
            "Give the directory of its run: the tag run_dir of the version in MLflow names it"
        )
    if str(run) != "latest":
        if not (Path(run) / "run.json").is_file():
            raise InputError(f"{run} is not a run directory: it holds no run.json (runs are stored in {outputs}/)")
        return Path(run)
    newest_first = sorted(outputs.rglob("run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first:
        facts = read_facts(path.parent)
        if facts["status"] == ("finished" if finished else "running") and not (trained and "rescored_from" in facts):
            return path.parent
    wanted = "finished run" if finished else "interrupted run"
    way_out = ", or train one: mimii train dataset=synthetic machine=fan" if finished else ""
    raise InputError(
        f"there is no {wanted} under {outputs.resolve()}: give a run directory instead of `latest`{way_out}"
    )
