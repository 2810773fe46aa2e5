"""Contents of a run for MLflow: its description at the start, its figures and files at the end."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from mimii_pl import __version__
from mimii_pl.core.config import is_trained, task_class
from mimii_pl.core.options import flatten
from mimii_pl.core.run_dir import parent_run_id
from mimii_pl.report.cost import COSTS
from mimii_pl.scoring.results import Result

ARTIFACTS = (
    "config.yaml",
    "run.json",
    "scores.csv",
    "held_out.csv",
    "results.csv",
    "history.csv",
    "skipped.csv",
    "report.html",
    "features.npz",
    "backend.npz",
    "thresholds.json",
    "sound.json",
    "identified.csv",
    "sensitivity.csv",
    "predictions.csv",
    "update.csv",
    "changes.csv",
)


class RunDescription(NamedTuple):
    """Record of a run at its start: name, tags, parameters, and the ID of the parent run of its sweep."""

    name: str
    tags: dict[str, str]
    params: dict[str, Any]
    parent: str | None = None


def describe_run(
    cfg: DictConfig, run_dir: Path, sweep_dir: Path | None = None, trust: Collection[str] = ()
) -> RunDescription:
    """Describe a run for MLflow: name, tags, parameters, parent run.

    Args:
        trust: packages, besides this one, whose class the task may be.
    """
    trial = OmegaConf.select(cfg, "sweep.trial")
    name = f"{cfg.choices.model}-{cfg.machine.name}" + ("" if trial is None else f"-{trial}")
    rule = task_class(cfg, trust).checkpoint_rule if is_trained(cfg, trust) else "none, as nothing is trained"
    tags = {
        "machine": cfg.machine.name,
        "selection": rule,
        "run_dir": str(run_dir),
        "version": __version__,
        **{str(group): str(choice) for group, choice in cfg.choices.items() if group != "machine"},
    }
    parent = parent_run_id(sweep_dir) if sweep_dir is not None else None
    return RunDescription(name, tags, {**cfg.choices, **flatten(cfg)}, parent)


def figures_of(results: Iterable[Result], criteria: Mapping[str, float], facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a finished run by their names in MLflow; undefined ones are skipped.

    Args:
        results: of the test clips.
        criteria: numbers computed from held-out clips, by name.
        facts: of run.json, with the costs.
    """
    named = _test_metrics(list(results)) | {f"val/{name}": value for name, value in criteria.items()}
    named |= {f"efficiency/{name}": facts[name] for name in COSTS if name in facts}
    return {name: float(value) for name, value in named.items() if math.isfinite(value)}


def _test_metrics(results: list[Result]) -> dict[str, float]:
    several = len({result.machine for result in results}) > 1
    return {
        f"test/{r.metric}/{r.machine + '/' if several else ''}{metric_name(r.id)}": r.value
        for r in results
        if not r.metric.startswith("n_") and r.metric != "n"
    }


def metric_name(name: str) -> str:
    """Replace the characters that MLflow does not allow in the name of a metric, since classes may have any name."""
    return re.sub(r"[^\w\-. /]", "_", name)
