"""Where the configuration lives, how it is composed, and how a mistake in it is explained."""

import difflib
import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf, open_dict

from mimii_pl.errors import InputError
from mimii_pl.sweep._name import search_name

_PACKAGE = Path(__file__).resolve().parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"  # installed, or a checkout

SELECTION = {  # of checkpoints, by task
    "anomaly": "lowest validation loss on held-out normal clips",
    "classification": "lowest validation loss on held-out clips of every class",
}

EXTRAS = {"hydra_ray_launcher": "ray", "hydra_submitit_launcher": "cluster"}  # by what Hydra calls the plugin


OmegaConf.register_new_resolver("search_name", search_name, use_cache=True, replace=True)  # of hydra.sweep.dir


class MachineSource(ConfigSource):
    """Makes `machine=NAME` a choice for any name: machine types are what the data hold, not what a folder lists."""

    @staticmethod
    def scheme() -> str:
        return "machine"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path == "machine"

    def is_config(self, config_path: str) -> bool:
        return config_path.startswith("machine/")

    def list(self, config_path: str, results_filter: Any) -> list[str]:
        return []

    def load_config(self, config_path: str) -> ConfigResult:
        config = OmegaConf.create({"name": Path(config_path).stem})
        return ConfigResult(self.provider, f"machine://{self.path}", config, {"package": None})


@contextmanager
def _plugins_but(name: str) -> Iterator[None]:
    """Hydra imports every plugin that is installed before it reads a word: leave this one out of what it finds."""
    found = pkgutil.iter_modules
    pkgutil.iter_modules = lambda *where: (module for module in found(*where) if not module.name.endswith(name))
    try:
        yield
    finally:
        pkgutil.iter_modules = found


# conf/hydra/launcher: files of the plugins' names, so that what they do not say comes from the plugins
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema", UserWarning)

with _plugins_but("hydra_optuna_sweeper"):  # which takes MLflow along, seconds of it: searches ask for it by name
    Plugins.instance().register(MachineSource)


def compose(overrides: list[str] | None = None, name: str = "train") -> DictConfig:
    """The configuration that `python train.py <overrides>` runs with, for notebooks and tests."""
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose(name, overrides=overrides or [], return_hydra_config=True)
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        composed.pop("hydra")
    return with_choices(composed, choices)


def with_choices(cfg: DictConfig, choices: DictConfig) -> DictConfig:
    """Write down which file was chosen in each group, Hydra's own groups left out."""
    chosen = OmegaConf.to_container(choices)
    cfg.choices = {str(group).split("@")[0]: choice for group, choice in chosen.items() if "hydra" not in str(group)}
    if cfg.choices.get("backend") == "none":  # whatever options an experiment has for the one it would have chosen
        cfg.backend = None
    return cfg


def build(node: DictConfig | None, *args: Any, **kwargs: Any) -> Any:
    """Instantiate a node with plain containers inside; our own errors come out unwrapped. None stays None."""
    import hydra
    from hydra.errors import InstantiationException

    if node is None:
        return None
    try:
        return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def task_of(cfg: DictConfig) -> str:
    """`anomaly` or `classification`; the first for commands and runs that know no other."""
    return cfg.choices.get("task", "anomaly")


def build_sounds(cfg: DictConfig) -> Any:
    """The data module of a configuration, not set up yet."""
    return build(
        cfg.dataset,
        machine=cfg.machine.name,
        protocol=build(cfg.protocol),
        features=build(cfg.features),
        target=cfg.target if task_of(cfg) == "classification" else None,
        augmentation=list(build(cfg.augmentation).values()),
    )


def class_of(node: DictConfig) -> type:
    """The class that a node names."""
    from hydra.utils import get_class

    return get_class(node._target_)


def refuse_strangers(node: DictConfig | None, trust: Sequence[str]) -> None:
    """Raise InputError where a node names a class of a package that is not trusted."""
    for name, value in (node or {}).items():
        if name == "_target_" and str(value).split(".")[0] not in trust:
            raise InputError(
                f"this run's configuration names {value}: not loaded. Trust its package with load(..., trust=)"
            )
        if isinstance(value, DictConfig):
            refuse_strangers(value, trust)


def explain(error: Exception) -> str:
    """One message for a mistake in the configuration: what is wrong, and the valid choices."""
    cause = error.__cause__ or error
    options = getattr(error, "options", None)
    if options is not None:
        group, _, name = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
        names = [option for option in options if not option.startswith("_")]
        return f"{group}={name}: no such choice. {group} is one of: {', '.join(names)}.{_closest(name, names)}"
    key, parent = getattr(cause, "key", None), getattr(cause, "parent_node", None)
    if key is not None and OmegaConf.is_dict(parent):
        where = str(getattr(cause, "full_key", key) or key).rpartition(".")[0]
        names = [str(name) for name in parent if not str(name).startswith("_")]
        place = f"{where} has" if where else "the configuration has"
        return (
            f"{where + '.' if where else ''}{key}: no such key. {place}: {', '.join(names)}.{_closest(str(key), names)}"
        )
    return str(error).split("\nfull_key")[0].strip()


def missing_extra(error: RuntimeError) -> str | None:
    """What to install, where Hydra does not find a plugin that an extra of ours brings."""
    for package, extra in EXTRAS.items():
        if f"'hydra_plugins.{package}." in str(error):
            return f"{package.replace('_', '-')} is not installed: pip install 'mimii_pl[{extra}]'"
    return None


def _closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(str(name), names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
