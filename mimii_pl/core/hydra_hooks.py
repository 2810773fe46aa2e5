"""All changes to Hydra's behavior, in one place. Import this module before Hydra composes anything."""

import copy
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.durations import share_of_time
from mimii_pl.core.search_name import search_name

EXTRAS = {"hydra_ray_launcher": "ray", "hydra_submitit_launcher": "cluster"}  # package of a Hydra plugin -> our extra
OF_SWEEPS = re.compile("Ambiguous value for|Sweep parameters|You must specify")  # what is an error in a run alone
VALIDATED = 64  # configurations of coming jobs in memory, at most
PLUGINS = Path(__file__).resolve().parents[1] / "sweep" / "plugins"  # Hydra loads plugins from `hydra_plugins` only


class MachineSource(ConfigSource):
    """Config source that accepts `machine=NAME` for any name: the data decide which machine types exist."""

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
        config = OmegaConf.create({"name": Path(config_path).name.removesuffix(".yaml")})
        return ConfigResult(self.provider, f"machine://{self.path}", config, {"package": None})


@contextmanager
def _hide_plugin(name: str) -> Iterator[None]:
    """Hide one installed Hydra plugin from discovery."""
    iter_modules = pkgutil.iter_modules
    pkgutil.iter_modules = lambda *args: (module for module in iter_modules(*args) if not module.name.endswith(name))
    try:
        yield
    finally:
        pkgutil.iter_modules = iter_modules


def _read_files_once() -> None:
    """Let configurations be composed of files that this process has read already, in three quarters of the time."""
    source: Any = SourcesRegistry.instance().resolve("file")
    load = source.load_config
    read: dict[tuple[str | int, ...], ConfigResult] = {}

    def load_config(self: Any, config_path: str) -> ConfigResult:
        try:
            status = Path(self.path, self._normalize_file_name(config_path)).stat()
        except OSError:
            return load(self, config_path)  # which says what is wrong
        file = status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size
        key = self.provider, self.path, config_path, *file
        if key not in read:
            read[key] = load(self, config_path)
        return copy.deepcopy(read[key])  # Hydra changes it

    source.load_config = load_config


def _compose_jobs_once() -> None:
    """Let the jobs of a sweep take the configurations that Hydra composes to validate them, a quarter second each."""
    compose = ConfigLoaderImpl.load_sweep_config
    validated: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}  # overrides -> that of the sweep, of the job

    def validate_batch_is_legal(self: Any, batch: Sequence[Sequence[str]]) -> None:
        validated.clear()
        for overrides in batch:
            job = compose(self.hydra_context.config_loader, self.config, list(overrides))
            if len(validated) < VALIDATED:
                validated[tuple(overrides)] = self.config, job

    def load_sweep_config(self: Any, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        sweep, job = validated.pop(tuple(sweep_overrides), (None, None))
        return job if job is not None and sweep is master_config else compose(self, master_config, sweep_overrides)

    Sweeper.validate_batch_is_legal = validate_batch_is_legal  # type: ignore[method-assign]
    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


def _compose_runs_once() -> None:
    """Let a run take the configuration that Hydra composes to see whether it is one, a quarter second.

    Hydra composes it as that of a sweep, which differs in what is allowed: here it is composed as that of a run at
    once, and as Hydra does if that fails where a sweep might not.
    """
    get_mode, load = Hydra.get_mode, ConfigLoaderImpl.load_configuration
    of_a_run = "hydra.mode=RUN"  # Hydra adds it to the overrides of a run

    def get_run_mode(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        loader = self.config_loader
        try:
            composed: Any = load(loader, config_name, overrides, RunMode.RUN)
            mode = composed.hydra.mode
        except Exception as error:
            composed, mode = error, None
            if OF_SWEEPS.match(str(error).lstrip()):
                return get_mode(self, config_name, overrides)
        loader.composed = config_name, list(overrides), composed
        return mode

    def load_configuration(
        self: Any, config_name: str | None, overrides: list[str], run_mode: RunMode, *args: Any, **options: Any
    ) -> DictConfig:
        name, known, composed = self.__dict__.pop("composed", (None, [], None))
        added = overrides[len(known) :]
        same = (name, known, run_mode) == (config_name, overrides[: len(known)], RunMode.RUN)
        if composed is None or not same or added not in ([], [of_a_run]):
            return load(self, config_name, overrides, run_mode, *args, **options)
        if isinstance(composed, Exception):
            raise composed
        composed.hydra.mode = RunMode.RUN
        composed.hydra.overrides.hydra.extend(added)
        return composed

    Hydra.get_mode = get_run_mode  # type: ignore[method-assign]
    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


def missing_extra(error: Exception) -> str | None:
    """Return a message that names the extra to install for a missing Hydra plugin; None for any other error."""
    for package, extra in EXTRAS.items():
        if f"'hydra_plugins.{package}." in str(error):
            return f"{package.replace('_', '-')} is not installed: pip install 'mimii_pl[{extra}]'"
    return None


OmegaConf.register_new_resolver("search_name", search_name, use_cache=True, replace=True)  # used by hydra.sweep.dir

OmegaConf.register_new_resolver("share_of_time", share_of_time, replace=True)  # used by experiment=auto

# files in conf/hydra/launcher have the names of the plugins' own configurations, which supply all other options
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema", UserWarning)

_compose_jobs_once()
_compose_runs_once()

if PLUGINS.is_dir() and str(PLUGINS) not in sys.path:  # a wheel installs them next to the package instead
    sys.path.append(str(PLUGINS))
with _hide_plugin("hydra_optuna_sweeper"):  # importing it imports MLflow: seconds of start-up. Searches load it by name
    Plugins.instance().register(MachineSource)
_read_files_once()  # last: the plugins have brought the source of files
