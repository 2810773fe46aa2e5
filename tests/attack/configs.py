"""Hostile `config.yaml`: names that would run code, interpolations, tags of YAML, and values of any kind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from support.confined import MARK

from attack.damage import HUGE_NUMBER, NESTING, ODD_VALUES
from attack.outcome import Change, Expected

BUILT = ("model", "features", "backend", "threshold", "protocol", "dataset", "task", "augmentation.extra", "trainer")
BUILT += ("trainer.logger", "trainer.callbacks.0", "trainer.callbacks.4")  # nodes from which objects are made
NODES = ("augmentation", "trainer.profiler", "trainer.strategy", "trainer.plugins", "machine", "report", "efficiency")
NODES += ("extra", "training", "choices")
OPTIONS = ("model.lr", "model.frames", "features.n_fft", "features.normalize", "features.hop", "features.n_mels")
OPTIONS += ("backend.pool", "backend.components", "dataset.batch_size", "dataset.sample_rate", "dataset.channel")
OPTIONS += ("dataset.spelling", "dataset.archives", "dataset.seconds", "threshold.quantile", "protocol.validation")
OPTIONS += ("trainer.max_epochs", "trainer.precision", "trainer.callbacks", "trainer.devices", "seed", "threads")
OPTIONS += ("target", "objective", "report.clips", "efficiency.seconds", "machine.name", "published", "resume", "best")
MODULES = ("core.files", "scoring.scorer", "run", "backend._backend", "dataset._audio", "core.run_dir", "__main__")
Config = dict[str, Any]


def hostile(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Replace a configuration by a hostile version of it; return the change.

    Args:
        path: the file.
        elsewhere: folder that nobody may touch: payloads write there.
    """
    make: Callable[..., Change] = CHANGES[rng.choice(len(CHANGES), p=WEIGHTS)]
    return make(rng, path, elsewhere)


def payloads(elsewhere: Path, module: str) -> Iterator[Config]:
    """Yield nodes that would run code, write or remove if they were built.

    Args:
        module: a module of the package, through which the libraries that it imports can be named.
    """
    canary, code = str(elsewhere / "canary"), f"open({str(elsewhere / 'canary')!r}, 'w')"
    ours = f"mimii_pl.{module}"
    yield {"_target_": "numpy.testing.runstring", "astr": code, "dict": {}}
    yield {"_target_": "os.system", "_args_": [f"touch {canary}"]}
    yield {"_target_": "os.system", "command": f"touch {canary}"}
    yield {"_target_": "subprocess.Popen", "args": ["touch", canary]}
    yield {"_target_": "subprocess.check_output", "_args_": [["touch", canary]]}
    yield {"_target_": "builtins.exec", "_args_": [code]}
    yield {"_target_": "builtins.eval", "_args_": [code]}
    yield {"_target_": "builtins.open", "file": canary, "mode": "w"}
    yield {"_target_": "logging.FileHandler", "filename": canary}
    yield {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [canary]}, "x"]}
    yield {"_target_": "functools.partial", "_args_": [{"_target_": "hydra.utils.get_method", "path": "os.system"}]}
    yield {"_target_": "timeit.timeit", "stmt": code, "number": 1}
    yield {"_target_": "runpy.run_path", "path_name": str(elsewhere / "precious.ckpt")}
    yield {"_target_": "shutil.rmtree", "path": str(elsewhere)}
    yield {"_target_": "os.remove", "path": str(elsewhere / "precious.ckpt")}
    yield {"_target_": "importlib.import_module", "name": f"planted_{MARK}"}
    yield {"_target_": f"planted_{MARK}.Thing"}
    yield {"_target_": "pydoc.locate", "path": f"planted_{MARK}.Thing"}
    yield {"_target_": "joblib.load", "filename": str(elsewhere / "precious.ckpt")}
    yield {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(elsewhere)}
    yield {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.system", "command": f"touch {canary}"}}
    yield {"_target_": "hydra._internal.utils._locate", "path": f"planted_{MARK}.Thing"}
    for through in (ours, "mimii_pl.core.files", "mimii_pl.scoring.scorer"):
        yield {"_target_": f"{through}.np.testing.runstring", "astr": code, "dict": {}}
        yield {"_target_": f"{through}.os.system", "command": f"touch {canary}"}
        yield {"_target_": f"{through}.np.save", "file": canary, "arr": 1}
        yield {"_target_": f"{through}.Path.touch", "self": {"_target_": f"{through}.Path", "_args_": [canary]}}
        yield {"_target_": f"{through}.torch.save", "obj": 1, "f": canary}
        yield {
            "_target_": f"{through}.write_text",
            "path": {"_target_": f"{through}.Path", "_args_": [canary]},
            "text": "x",
        }
    yield {"_target_": "mimii_pl.core.files.write_arrays", "path": {"_target_": "pathlib.Path", "_args_": [canary]}}
    yield {"_target_": "mimii_pl.core.process.run_in_process", "function": "os.system"}


def _target(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Name what runs code, at a random node, plain, in a list, or deep inside."""
    cfg = _read(path)
    choices = list(payloads(elsewhere, MODULES[rng.integers(len(MODULES))]))
    payload: Any = choices[rng.integers(len(choices))]
    name = payload["_target_"]
    for key, value in (("_partial_", True), ("_recursive_", False), ("_convert_", "object"), ("_mode_", "call")):
        if rng.random() < 0.15:
            payload = {**payload, key: value}
    shape = str(rng.choice(["plain", "list", "inside", "deep"]))
    key = str(rng.choice(BUILT if rng.random() < 0.6 else [*NODES, *OPTIONS]))
    if shape == "plain":
        _set(cfg, key, payload)
    else:
        key = f"{key}.extra" if shape == "inside" else key
        _set(cfg, key, {"a": [{"b": [payload]}]} if shape == "deep" else [payload] if shape == "list" else payload)
    _write(path, cfg)
    return Change(f"{key} = {name} ({shape})", Expected.REFUSED)


def _wrong_kind(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Name a class of ours of another kind than its node is for."""
    cfg = _read(path)
    targets = ["mimii_pl.model.level.Level", "mimii_pl.features.log_mel.LogMel", "mimii_pl.backend.gmm.GMM"]
    targets += ["mimii_pl.protocol.official.Official", "mimii_pl.threshold.percentile.Percentile"]
    targets += [
        "mimii_pl.augmentation.noise.Noise",
        "mimii_pl.core.errors.InputError",
        "mimii_pl.scoring.scorer.Scorer",
    ]
    targets += ["mimii_pl.model.Detector", "mimii_pl.no_such.Thing", "mimii_pl", "Level", "", "mimii_pl.model.level"]
    node = str(rng.choice(["model", "features", "backend", "threshold", "protocol", "dataset", "task", "trainer"]))
    kind = {"dataset": "dataset.", "task": "task."}.get(node, f".{node}.")
    target = str(rng.choice([name for name in targets if kind not in f"{name}."]))
    cfg[node] = {**(cfg.get(node) or {}), "_target_": target} if rng.random() < 0.5 else {"_target_": target}
    _write(path, cfg)
    return Change(f"{node} = {target or 'nothing'}", Expected.REFUSED)


def _elsewhere(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Let an allowed object write outside of the run directory."""
    cfg = _read(path)
    key, value = (
        ("trainer.callbacks.0.path", str(elsewhere / "history.csv")),
        ("trainer.callbacks.0.path", str(elsewhere / "precious.ckpt")),
        ("trainer.callbacks.4.dirpath", str(elsewhere)),
        ("trainer.callbacks.4.filename", "../../../../" + elsewhere.name + "/precious"),
        ("trainer.default_root_dir", str(elsewhere)),
        ("run_dir", str(elsewhere)),
    )[int(rng.integers(6))]
    _set(cfg, key, value)
    _write(path, cfg)
    return Change(f"{key} = {value}", Expected.EITHER)


def _machinery(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Set what Hydra does before a command, should a configuration become an experiment."""
    cfg, canary = _read(path), str(elsewhere / "canary")
    made = {"()": "os.mkdir", "path": canary}
    key, value = (
        ("hydra", {"job_logging": {"version": 1, "formatters": {"x": made}}}),
        (
            "hydra",
            {"job_logging": {"version": 1, "handlers": {"x": {"class": "logging.FileHandler", "filename": canary}}}},
        ),
        ("hydra", {"job": {"env_set": {"PYTHONSTARTUP": canary}}}),
        ("hydra", {"run": {"dir": str(elsewhere)}, "sweep": {"dir": str(elsewhere)}}),
        ("hydra.job_logging", {"version": 1, "formatters": {"x": made}}),
        ("command", "os.mkdir"),
        ("trainer.strategy._target_", "os.mkdir"),
        ("trainer.strategy[_target_]", "os.mkdir"),
        ("defaults", [{"override /model": "level"}]),
    )[int(rng.integers(9))]
    place = cfg["trainer"] if key.startswith("trainer.") else cfg
    place[key.removeprefix("trainer.")] = value
    _write(path, cfg)
    return Change(f"{key} = {value}", Expected.REFUSED)


def _interpolation(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Ask OmegaConf to look something up."""
    cfg = _read(path)
    texts = ["${oc.env:MIMII_PL_ATTACK_SECRET}", "${oc.env:HOME}", "${oc.decode:'1'}", "${oc.create:{a:1}}", "${seed}"]
    texts += ["${model}", "${now:%Y}", "${hydra:runtime.cwd}", "${search_name:x}", "${oc.select:seed,5}", "${", "${}"]
    texts += [
        "${oc.decode:${oc.env:HOME}}",
        "${.lr}",
        "${oc.deprecated:seed}",
        "???",
        "${x.y.z}",
        "${oc.dict.keys:model}",
    ]
    key = str(rng.choice(OPTIONS))
    value = str(rng.choice(texts))
    _set(cfg, key, value)
    _write(path, cfg)
    return Change(f"{key} = {value}", Expected.EITHER)


def _odd_value(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Hold a value of another type, or of an absurd size."""
    cfg = _read(path)
    key = str(rng.choice([*OPTIONS, *BUILT, *NODES]))
    value = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    _set(cfg, key, value)
    _write(path, cfg)
    return Change(f"{key} = {value!r:.40}", valued=value != 1)  # one is a value as good as others


def _missing(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Lack a key."""
    cfg = _read(path)
    key = str(
        rng.choice([*cfg, *[f"{name}.{part}" for name, node in cfg.items() if isinstance(node, dict) for part in node]])
    )
    head, _, last = key.rpartition(".")
    del (cfg[head] if head else cfg)[last]
    _write(path, cfg)
    return Change(f"{key} is missing", valued=False)  # a default takes its place


def _text(rng: np.random.Generator, path: Path, elsewhere: Path) -> Change:
    """Be YAML that runs code, is endless, or is no mapping."""
    canary = elsewhere / "canary"
    whole = path.read_text()
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    texts = {
        "apply": f"model: !!python/object/apply:os.system ['touch {canary}']\n",
        "apply in place": whole.replace("seed: 0\n", f"seed: !!python/object/apply:os.system ['touch {canary}']\n", 1),
        "new": f"model: !!python/object/new:subprocess.Popen [[touch, {canary}]]\n",
        "name": "model: !!python/name:os.system\n",
        "module": f"model: !!python/module:planted_{MARK}\n",
        "unknown tag": whole + "extra: !secret x\n",
        "bomb": bomb,
        "bomb behind the rest": whole + bomb,
        "deep": "a: " + "[" * NESTING + "]" * NESTING,
        "deep mapping": "".join(f"{' ' * n}a:\n" for n in range(1500)),
        "merge of itself": "a: &a\n  <<: *a\n",
        "a key twice": whole + "model: {_target_: os.system}\n",
        "no mapping": "- 1\n- 2\n",
        "a number": "5\n",
        "nothing": "# nothing\n",
        "two documents": f"{whole}---\n{whole}",
        "tabs": whole.replace("  ", "\t"),
        "a huge number": whole.replace("seed: 0\n", f"seed: {HUGE_NUMBER}\n", 1),
        "NUL": whole.replace("seed", "se\0ed", 1),
        "keys that are no text": whole + "1: 2\nnull: 3\n1.5: 4\ntrue: 5\n",
        "a date": whole.replace("seed: 0\n", "seed: 2024-01-01\n", 1),
        "binary": whole + "extra: !!binary aGFsbG8=\n",
        "a set": whole + "extra: !!set {a, b}\n",
    }
    name = str(rng.choice(list(texts)))
    path.write_text(texts[name])
    return Change(f"YAML: {name}", Expected.EITHER)


CHANGES = (_target, _wrong_kind, _elsewhere, _machinery, _interpolation, _odd_value, _missing, _text)
WEIGHTS = (0.35, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.1)


def _read(path: Path) -> Config:
    return yaml.safe_load(path.read_text())


def _write(path: Path, cfg: Config) -> None:
    path.write_text(yaml.safe_dump(cfg, sort_keys=False))


def _set(cfg: Any, key: str, value: Any) -> None:
    """Set a dotted key; what stands in its way is replaced."""
    *parents, last = key.split(".")
    for name in parents:
        inner = cfg[int(name)] if isinstance(cfg, list) else cfg.get(name)
        if not isinstance(inner, dict | list):
            inner = cfg[name] = {}
        cfg = inner
    if isinstance(cfg, list):
        if last.isdigit():
            cfg[int(last)] = value
        else:
            cfg.append(value)
    else:
        cfg[last] = value
