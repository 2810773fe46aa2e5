"""Freeze a configuration (checked, resolved, written into the run directory), and open a frozen one again."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.addresses import hide_passwords
from mimii_pl.core.arguments import escaped
from mimii_pl.core.check import check
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_text
from mimii_pl.core.options import flatten, split_options
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.settings import resolve_precision
from mimii_pl.core.stored_config import read_config, require_plain
from mimii_pl.core.trusted_classes import trust_classes
from mimii_pl.core.units import resolve_units


def freeze_config(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """Check and resolve a configuration and write `config.yaml`; the run works with the returned copy.

    Neither holds the password of an address.

    Raises:
        InputError: a wrong option, or the directory holds a finished run of another configuration.
    """
    cfg = resolve_units(cfg)
    cfg.run_dir = escaped(str(run_dir))
    resolve_precision(cfg)
    check(cfg)
    run_dir.mkdir(parents=True, exist_ok=True)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    require_plain(plain)  # what is read back must be, so that it cannot execute code
    OmegaConf.resolve(cfg)
    hide_passwords(cfg)
    _keep_finished(cfg, run_dir)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg))
    return cfg


def _keep_finished(cfg: DictConfig, run_dir: Path) -> None:
    """Raise InputError if the directory holds a finished run of another configuration."""
    if read_facts(run_dir).get("status") != "finished":
        return
    stored, new = (split_options({**flatten(c), **c.choices}) for c in (read_config(run_dir), cfg))
    if stored != new:
        pairs = zip(stored, new, strict=True)  # options that identify a run, and those that repeat it
        changed = {name for old_options, options in pairs for name, _ in old_options.items() ^ options.items()}
        raise InputError(
            f"{run_dir} holds a finished run with another {', '.join(sorted(changed))}: it is kept. Choose another "
            "directory (hydra.run.dir, for sweeps hydra.sweep.dir), or delete this one"
        )


def open_stored(run_dir: Path, trust: Collection[str]) -> DictConfig:
    """Read the configuration of a run directory to build all that it names.

    Args:
        trust: packages, besides this one, whose classes it may name.

    Raises:
        InputError: it is damaged, names a class that is not trusted, or has a wrong option.
    """
    if "${" in str(run_dir.resolve()):  # stored, it would be an interpolation
        raise InputError(f"{run_dir}: with ${{ in its name, a run can score recordings only: rename the folder")
    cfg = read_config(run_dir)
    trust_classes(cfg, trust)
    try:
        check(cfg)
    except InputError as error:
        raise InputError(f"{run_dir / 'config.yaml'}: {error}") from None
    return cfg
