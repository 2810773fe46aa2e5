"""The run directory: everything a finished run needs to score new recordings, in formats that cannot execute code.

config.yaml       resolved configuration
run.json          status, machine IDs, clip length, best checkpoint, costs, digests of the binary files
clips.csv         clips that the run learned from, with digests of their samples
run.log           messages of the run, with times
checkpoints/      best.ckpt, last.ckpt, and the last one but one
features.npz      statistics of the training set, where the features use them
backend.npz       fitted back end, where there is one
embeddings.npz    embeddings of clips, where the detector has one
thresholds.json   one per machine ID, and the held-out normal scores they were chosen from
scores.csv        one row per test clip
held_out.csv      one row per held-out normal clip: its score, and its scores with the faults of pseudo-anomalies
challenge/        the same in the format of the DCASE challenge, for its data sets
predictions.csv   of a classifier instead of scores: one row per test clip, with the probability of each class
sensitivity.csv   AUC of each fault, severity and machine ID, on held-out normal clips
identified.csv    machine ID that an ID classifier assigns to each held-out normal clip
results.csv       one row per machine ID (class) and metric
history.csv       losses per epoch
mlflow.jsonl      points for MLflow, and in mlflow.sent how many it has
skipped.csv       recordings that could not be used
update.csv        of an updated run: alarms and sensitivity before and after
changes.csv       of an updated run: each recording, before and after
sound.json        levels of training clips, by which monitoring knows the microphone and a machine that stands still
report.html       the report
members/          of a fused run, in place of a detector: what scoring needs of each run it is made of
"""

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mimii_pl.core.errors import InputError, damaged
from mimii_pl.core.files import require_writable, write_text

RUN_FOLDERS = ("checkpoints", "challenge")
WRITTEN_IN_PLACE = ("run.log", "mlflow.jsonl", "mlflow.sent", *RUN_FOLDERS, ".lock", ".lock.holder")
OTHER_FILES = ("run.json", "report.html", "embeddings.npz", "sound.json")
RUN_TABLES = (
    "scores.csv",
    "held_out.csv",
    "predictions.csv",
    "results.csv",
    "history.csv",
    "clips.csv",
    "skipped.csv",
    "identified.csv",
    "sensitivity.csv",
    "update.csv",
    "changes.csv",
)
log = logging.getLogger(__name__)
BINARY_FILES = ("features.npz", "backend.npz")  # that scoring needs, besides the checkpoint
MEMBERS = "members"  # folder of a fused run with a folder for each run it is made of
SCORING_FILES = ("config.yaml", *BINARY_FILES, "thresholds.json")  # all that it needs, besides the checkpoint


def require_writable_run(run_dir: Path, instead: str) -> None:
    """Raise InputError unless a run can write all that belongs into its directory; make that if it is missing.

    Args:
        instead: option that names another directory, as one types it.
    """
    files = (*SCORING_FILES, *RUN_TABLES, *OTHER_FILES, *WRITTEN_IN_PLACE)
    require_writable(run_dir, instead, [name for name in files if name not in RUN_FOLDERS])
    for folder in map(run_dir.joinpath, RUN_FOLDERS):
        if folder.name == "checkpoints" or folder.exists():
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            require_writable(folder, instead, names)


def write_facts(run_dir: Path, /, **facts: Any) -> None:
    """Add facts to run.json; None removes one."""
    known = {name: fact for name, fact in {**read_facts(run_dir), **facts}.items() if fact is not None}
    write_text(run_dir / "run.json", json.dumps(known, indent=2))


def is_copy(run_dir: Path) -> bool:
    """Return whether a run directory was copied from one that still exists, which MLflow's run belongs to."""
    facts = read_facts(run_dir)
    source = Path(facts.get("run_dir", run_dir))
    if source.resolve() == run_dir.resolve() or not (source / "run.json").is_file():
        return False
    known = read_facts(source)
    return any(name in facts and facts[name] == known.get(name) for name in ("mlflow_key", "mlflow_run_id"))


def read_facts(run_dir: Path) -> dict[str, Any]:
    """Read run.json; return {} before it is written.

    Raises:
        InputError: it is damaged, or names a checkpoint outside the run directory.
    """
    path = run_dir / "run.json"
    if not os.path.lexists(path):
        return {}
    with damaged(path):
        facts = json.loads(path.read_text(encoding="utf-8"))
        _validate_facts(facts)
        if "checkpoint" in facts:
            _refuse_outside(run_dir, facts["checkpoint"])
        for name in facts.get("members", ()):
            _refuse_elsewhere(run_dir, name)
    return facts


def _validate_facts(facts: Any) -> None:
    """Raise ValueError for a fact of the wrong type; there may be other facts."""
    if not isinstance(facts, dict):
        raise ValueError("it is not a mapping")
    for name, is_valid in FACT_TYPES.items():
        if name in facts and not is_valid(facts[name]):
            raise ValueError(f"{name} is {str(facts[name])[:50]}")


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and "/" in value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value and all(len(part) < 256 for part in value.split("/"))


def _is_folder(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]\w{0,99}", value) is not None


def _is_shown(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _list_of(is_valid: Callable[[Any], bool], fewest: int = 1) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= fewest and all(map(is_valid, value))


FACT_TYPES: dict[str, Callable[[Any], bool]] = {  # facts that others depend on -> whether a value may be theirs
    "status": lambda value: value in ("running", "finished", "pruned"),
    "labels": _list_of(_is_label),
    "classes": _list_of(_is_text),
    "members": _list_of(_is_folder, fewest=2),
    **dict.fromkeys(("samples", "sample_rate"), lambda value: _is_count(value) and value > 0),
    **dict.fromkeys(("checkpoint", "run_dir", "rescored_from", "updated_from", "root"), _is_path),
    **dict.fromkeys(("mlflow_key", "mlflow_run_id", "held_out"), _is_text),
    **dict.fromkeys(("reason", "device", "official", "threshold", "notices", "parent"), _is_shown),
    **dict.fromkeys(("objective", "sensitivity", "pseudo_auc", "balanced_accuracy", "validation_loss"), _is_number),
    **dict.fromkeys(("epochs", "parameters", "train_seconds", "seconds_per_epoch", "size_bytes", "macs"), _is_number),
    **dict.fromkeys(("peak_memory_bytes", "ms_per_clip", "ms_per_clip_best_batch"), _is_number),
    **dict.fromkeys(("best_batch", "clips_per_second"), _is_number),
    **dict.fromkeys(("false_alarms", "found"), _list_of(_is_count, fewest=2)),
    "digests": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
}


def _refuse_outside(run_dir: Path, name: str) -> None:
    """Raise InputError unless a file named by run.json lies in the run directory, links followed."""
    parts = PurePosixPath(name).parts
    if ".." in parts or run_dir.resolve() not in (run_dir / name).resolve().parents:
        raise InputError(f"{run_dir / 'run.json'} names the checkpoint {name}, outside its directory: not loaded")
    if (run_dir / name).is_dir():
        raise ValueError(f"checkpoint is {name[:50]}, a folder")


def _refuse_elsewhere(run_dir: Path, name: str) -> None:
    """Raise InputError if a member named by run.json is a link, which could lead anywhere."""
    if any(path.is_symlink() for path in (run_dir / MEMBERS, run_dir / MEMBERS / name)):
        raise InputError(f"{run_dir / MEMBERS / name} is a link: not loaded. Replace it by what it stands for")


def parent_run_id(sweep_dir: Path) -> str | None:
    """Read the MLflow ID of a sweep's parent run; None if the sweep has none."""
    return read_sweep_facts(sweep_dir).get("mlflow_run_id")


def read_sweep_facts(sweep_dir: Path) -> dict[str, Any]:
    """Read sweep.json; return {} if there is none.

    Raises:
        InputError: it is damaged.
    """
    path = sweep_dir / "sweep.json"
    if not os.path.lexists(path):
        return {}
    with damaged(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def write_digests(run_dir: Path) -> None:
    """Note what is in the binary files that scoring needs, so that damage to them is found."""
    changing = ("config.yaml", "thresholds.json")  # by `mimii decide`; those of members stay
    names = [name for name in scoring_files(run_dir) if name not in changing and (run_dir / name).is_file()]
    write_facts(run_dir, digests={name: _digest(run_dir / name) for name in names})


def check_digests(run_dir: Path) -> None:
    """Raise InputError for a binary file whose content is not what a finished run wrote; older runs have no digests."""
    facts = read_facts(run_dir)
    for name, digest in facts.get("digests", {}).items() if facts.get("status") == "finished" else ():
        with damaged(run_dir / name):
            if _digest(run_dir / name) != digest:
                raise ValueError("its content is not what the run wrote")


def scoring_files(run_dir: Path) -> list[str]:
    """Return the names of the files, besides run.json, that scores and decisions depend on; some may be absent.

    Raises:
        InputError: the run is not finished.
    """
    facts = read_facts(run_dir)
    if "members" in facts:
        names = [*SCORING_FILES]
        for member in facts["members"]:
            folder = f"{MEMBERS}/{member}"
            names += [f"{folder}/{name}" for name in ("run.json", *scoring_files(run_dir / folder))]
        return names
    if "checkpoint" not in facts:
        raise InputError(f"run={run_dir} is not finished: `mimii resume {shlex.quote(str(run_dir))}` continues it")
    return [*SCORING_FILES, facts["checkpoint"]]


def refuse_fused(run_dir: Path, instead: str) -> None:
    """Raise InputError for a fused run, where only a run of a detector can be used; `instead`: the way out."""
    if members := read_facts(run_dir).get("members"):
        raise InputError(f"run={run_dir} is fused of {', '.join(members)}: it has no detector of its own. {instead}")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_fingerprint(run_dir: Path) -> str:
    """Return a SHA-256 digest of everything that scores depend on.

    A copy of the run has the same digest; training it again or choosing other thresholds changes it.

    Raises:
        InputError: the run is not finished.
    """
    facts, names = read_facts(run_dir), scoring_files(run_dir)
    digest = hashlib.sha256(json.dumps([facts.get(name) for name in ("labels", "samples", "classes")]).encode())
    for name in names:
        digest.update(f"\n{name}\n".encode())
        if (run_dir / name).is_file():
            digest.update(bytes.fromhex(_digest(run_dir / name)))
    return digest.hexdigest()


def find_run(run: str | Path, *, finished: bool = True, trained: bool = False, outputs: Path = Path("outputs")) -> Path:
    """Find a run directory by its path, or `latest`: the newest one under `outputs`.

    Args:
        finished: `latest` is a finished run; False: an interrupted one.
        trained: `latest` skips runs that were only rescored, updated or fused.

    Raises:
        InputError: there is no such run.
    """
    if str(run).startswith("models:/"):
        raise InputError(
            f"run={run}: a registered model only scores recordings (mimii score, mimii_pl.load) and never changes. "
            "Give the directory of its run: the tag run_dir of the version in MLflow names it"
        )
    if str(run) != "latest":
        if not os.path.lexists(Path(run) / "run.json"):
            raise InputError(_no_run(Path(run), outputs))
        _refuse_links(Path(run))
        return Path(run)
    newest_first = sorted(_stored_runs(outputs), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first:
        try:
            facts = read_facts(path.parent)
        except InputError as error:  # another run's
            log.warning("%s", error)
            continue
        is_wanted = facts.get("status") == ("finished" if finished else "running")
        if is_wanted and not (trained and facts.keys() & {"rescored_from", "updated_from", "members"}):
            _refuse_links(path.parent)
            return path.parent
    wanted = "finished run" if finished else "interrupted run"
    way_out = ", or train one: mimii train dataset=synthetic machine=fan" if finished else ""
    raise InputError(
        f"there is no {wanted} under {outputs.resolve()}: give a run directory instead of `latest`{way_out}"
    )


def _stored_runs(folder: Path) -> Iterator[Path]:
    """Yield the run.json of every run below a folder, but of unfinished copies (hidden) and members of fused runs."""
    for path in folder.rglob("run.json"):
        if not any(part.startswith(".") or part == MEMBERS for part in path.relative_to(folder).parts):
            yield path


def _refuse_links(run_dir: Path) -> None:
    """Raise InputError if what is written in place is a link, or no regular file or folder: it would lead elsewhere."""
    for name in WRITTEN_IN_PLACE:
        path = run_dir / name
        if path.is_symlink() or (os.path.lexists(path) and not (path.is_file() or path.is_dir())):
            raise InputError(f"{path} is a link or a special file: not used. Replace it by what it stands for")


def _no_run(folder: Path, outputs: Path) -> str:
    if any((folder / name).exists() for name in ("config.yaml", "run.log")):
        return f"{folder}: this run was interrupted before training began: start the same command again"
    return f"{folder} is not a run directory: it holds no run.json (runs are stored in {outputs}/)"
