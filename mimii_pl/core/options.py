"""Flat options of configurations: those that identify a run, those that repeat it, and differences between runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

MAX_LENGTH = 500  # characters of a value: the limit that every MLflow store accepts
REPEATS = ("seed", "fold", "left_out")  # last parts of options that repeat a run rather than change it
NOT_IDENTITY = (  # where and how a run is made; `trainer` too, except for TRAINER_IDENTITY
    "run_dir",
    "resume",
    "best",
    "trust",
    "threads",
    "published",
    "report",
    "efficiency",
    "logger",
    "experiment",
    "sweep",
    "objective",
    "trainer",
    "dataset.num_workers",
    "dataset.cache_dir",
    "dataset.download",
    "dataset.mirrors",
    "dataset.keep_archives",
    "dataset.archives",
)
ADDED = {  # options that runs of before do not have -> the value that they behave with
    "dataset.full_scale": "1.0",
    "dataset.classes": "machine_id",
    "model.head": "softmax",
    "model.margin": "0.5",
    "model.scale": "30.0",
    "model.subclusters": "16",
    "model.subspace": "32",
    "model.trainable": "True",
    "model.dynamic_scale": "False",
    "task.criterion_clips": "64",
    "backend.weights": "None",
}
TRAINER_IDENTITY = ("max_epochs", "max_time", "limit_train_batches", "precision")


def flatten(cfg: DictConfig) -> dict[str, str]:
    """Flatten a configuration to dotted keys; lists of nodes (callbacks) and the logger are skipped."""
    flat: dict[str, str] = {}

    def walk(node: dict, prefix: str) -> None:
        for key, value in node.items():
            if key.startswith("_"):
                continue
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
                flat[prefix + key] = str(value)[:MAX_LENGTH]

    plain = OmegaConf.to_container(cfg)
    assert isinstance(plain, dict)
    plain.pop("choices")
    plain["trainer"].pop("logger", None)
    walk(plain, "")
    return flat


def identity(cfg: DictConfig) -> tuple:
    """Return the choices and values that identify a run, hashable; see `split_options`."""
    return tuple(split_options({**flatten(cfg), **cfg.choices})[0].items())


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Split options by dotted key, sorted, into those that identify a run and those that repeat it.

    Options that say where and how a run is made are skipped, and those of `ADDED` at that value.

    >>> split_options({"model.lr": 0.001, "seed": 3, "threads": 2, "dataset.full_scale": 1.0})
    ({'model.lr': '0.001'}, {'seed': '3'})
    """
    kept = {key: str(options[key]) for key in sorted(options) if not _is_incidental(key)}
    kept = {key: value for key, value in kept.items() if ADDED.get(key) != value}
    return (
        {key: value for key, value in kept.items() if not is_repeat(key)},
        {key: value for key, value in kept.items() if is_repeat(key)},
    )


def is_repeat(key: str) -> bool:
    """Return whether an option repeats a run rather than changes it, such as `seed` or `protocol.fold`."""
    return key.rsplit(".", 1)[-1] in REPEATS


def differences(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Return, for each configuration, the options in which they differ, with numbers shortened.

    >>> differences([{"model": "vae", "seed": "0"}, {"model": "vae", "seed": "1", "model.lr": "0.00012345678"}])
    ['seed=0', 'seed=1 model.lr=0.0001235']
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    varied = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    return [" ".join(f"{key}={shortened(config[key])}" for key in varied if key in config) for config in configs]


def _is_incidental(key: str) -> bool:
    group, _, name = key.partition(".")
    return key.startswith(NOT_IDENTITY) and not (group == "trainer" and name in TRAINER_IDENTITY)


def shortened(value: str) -> str:
    """Return a long number with four significant digits; other texts as they are.

    >>> shortened("0.00012345678"), shortened("[1, 2, 3, 4]")
    ('0.0001235', '[1, 2, 3, 4]')
    """
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value
