"""Hostile run.json, thresholds.json and arrays of a run directory."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from attack.damage import HUGE_NUMBER, NESTING, ODD_VALUES
from attack.outcome import Change, Expected

REFUSED, EITHER = Expected.REFUSED, Expected.EITHER


class Payload:
    """An object whose pickle runs a command."""

    def __init__(self, elsewhere: Path) -> None:
        self.command = f"touch {elsewhere / 'canary'}"

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


# --- JSON ------------------------------------------------------------------------------------------------------------
def facts(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    """Make run.json hostile: files outside of the run directory, values of other types."""
    path = run_dir / "run.json"
    values = json.loads(path.read_text())
    if rng.random() < 0.3:
        return _checkpoint_elsewhere(rng, run_dir, elsewhere, values)
    if rng.random() < 0.3:
        return _json_text(rng, path)
    key = str(rng.choice([*values, "classes", "mlflow_run_id", "rescored_from", "official", "__class__"]))
    value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    if rng.random() < 0.2:
        values.pop(key, None)
        path.write_text(json.dumps(values))
        return Change(f"run.json: {key} is missing", EITHER)
    path.write_text(json.dumps({**values, key: value}))
    return Change(f"run.json: {key} = {value!r:.40}", valued=value != 1)


def _checkpoint_elsewhere(rng: np.random.Generator, run_dir: Path, elsewhere: Path, values: dict) -> Change:
    whole = (run_dir / values["checkpoint"]).read_bytes()
    (elsewhere / "precious.ckpt").write_bytes(whole)  # it could be read
    choices = ["../../x", str(elsewhere / "precious.ckpt"), f"../../../{elsewhere.name}/precious.ckpt", "/dev/zero"]
    choices += ["checkpoints/../../classifier/checkpoints/best.ckpt", "", ".", "checkpoints", "checkpoints/link"]
    value = str(rng.choice(choices))
    (run_dir / "checkpoints" / "link").symlink_to(elsewhere / "precious.ckpt")
    (run_dir / "run.json").write_text(json.dumps({**values, "checkpoint": value}))
    return Change(
        f"run.json: checkpoint = {value.removeprefix(str(elsewhere))}", EITHER if value.endswith("link") else REFUSED
    )


def thresholds(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    """Make thresholds.json hostile."""
    path = run_dir / "thresholds.json"
    if rng.random() < 0.3:
        return _json_text(rng, path)
    state = json.loads(path.read_text())
    key = str(rng.choice([*state, "extra", "self"]))
    value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    if isinstance(state.get(key), dict) and rng.random() < 0.6:
        inner = str(rng.choice([*state[key], "fan/id_99"]))
        state[key] = {**state[key], inner: [value] if key == "normal" and rng.random() < 0.5 else value}
        key = f"{key}.{inner}"
    else:
        state[key] = value
    path.write_text(json.dumps(state))
    return Change(f"thresholds.json: {key} = {value!r:.40}", EITHER)


def _json_text(rng: np.random.Generator, path: Path) -> Change:
    whole = path.read_text()
    texts = {
        "a list": "[]",
        "a number": "5",
        "a word": '"finished"',
        "null": "null",
        "nothing": "",
        "deep": "[" * NESTING + "]" * NESTING,
        "a huge number": whole.rstrip().removesuffix("}") + f', "samples": {HUGE_NUMBER}, "normal": {HUGE_NUMBER}}}',
        "a key twice": whole.rstrip().removesuffix("}") + ', "labels": 5}',
        "two documents": whole + whole,
        "YAML": "status: finished\n",
        "half": whole[: len(whole) // 2],
    }
    name = str(rng.choice(list(texts)))
    path.write_text(texts[name])
    return Change(f"{path.name}: {name}", REFUSED)


# --- arrays ----------------------------------------------------------------------------------------------------------
def arrays(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    """Make features.npz or backend.npz hostile."""
    paths = [path for path in (run_dir / "features.npz", run_dir / "backend.npz") if path.is_file()]
    path = paths[rng.integers(len(paths))]
    with np.load(path, allow_pickle=False) as file:
        state: dict[str, Any] = {name: file[name] for name in file.files}
    key = str(rng.choice(list(state)))
    array = state[key]
    versions: dict[str, tuple[Any, Expected]] = {
        "of objects": (np.array([Payload(elsewhere)], dtype=object), REFUSED),
        "of objects, one": (np.array(Payload(elsewhere), dtype=object), REFUSED),
        "missing": (None, REFUSED),
        "NaN": (np.full(array.shape, np.nan), REFUSED),
        "empty": (np.zeros(0), REFUSED),
        "of text": (np.array(["x"]), REFUSED),
        "of another shape": (np.zeros((3, 3, 3)), REFUSED),
        "of complex numbers": (np.zeros(array.shape, complex), EITHER),
        "of times": (np.zeros(array.shape, "datetime64[s]"), EITHER),
        "structured": (np.zeros(3, [("a", "f8")]), REFUSED),
    }
    name = str(rng.choice([*versions, "with more arrays", "with a path", "a bomb", "a lying header"]))
    expected = REFUSED
    if name in versions:
        state[key], expected = versions[name]
        if name == "missing":
            del state[key]
    np.savez(path, **state)
    if name in ("with more arrays", "with a path", "a bomb", "a lying header"):
        expected = EITHER
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            _add_member(file, name)
    return Change(f"{path.name}: {key} {name}", expected)


def _add_member(file: zipfile.ZipFile, name: str) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }"
    start = b"\x93NUMPY\1\0"
    if name == "with more arrays":
        file.writestr("7.mean.npy", _npy(np.zeros(3)))
        file.writestr("x.npy", _npy(np.zeros(3)))
    elif name == "with a path":
        file.writestr("../../x.npy", _npy(np.zeros(3)))
    elif name == "a bomb":
        file.writestr("0.bomb.npy", start + _header(header % (2**29)) + bytes(2**24))
    else:
        file.writestr("0.lie.npy", start + _header(header % "9" * 1))
        file.writestr("0.code.npy", start + _header("__import__('os').getpid()"))


def _header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return len(padded).to_bytes(2, "little") + padded.encode()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
