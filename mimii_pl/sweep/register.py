"""Register finished runs as versions of models: by hand, or the best seed of a retrained winner."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl import __version__
from mimii_pl.core.config import task_class
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, parent_run_id, read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.sweep.winners import Sweep, Trial, best_runs, criterion, directory_sweep
from mimii_pl.tracking.registry import ALIAS, Registered, add_version, promote

if TYPE_CHECKING:
    from mimii_pl.task import Task


def register(
    *,
    run: str,
    trust: Collection[str] = (),
    name: str | None = None,
    alias: str | None = ALIAS,
    force: bool = False,
) -> list[Registered]:
    """Register runs as versions of models, and move the alias to versions that are better than its present one.

    A run is loaded and scores a clip before it is registered.

    Args:
        run: a run directory, `latest`, or a sweep's directory: then the best run of each machine.
        trust: packages, besides this one, whose classes a run may name.
        name: of the model; None: the machine type, and for a classifier its target.
        alias: of the version in use; None: none.
        force: move the alias even if this version is not known to be better.

    Raises:
        InputError: there is no such finished run, it cannot score, or it is not recorded in MLflow.
    """
    sweep = directory_sweep(Path(run) if Path(run).is_dir() else find_run(run), trust)
    chosen = best_runs(sweep)
    if name and len(chosen) > 1:
        names = ", ".join(trial.model_name for trial in chosen)
        raise InputError(f"name={name}: the sweep has a best run for each of {names}; omit name=")
    registered = []
    for trial in chosen:  # all of them, before the first is registered
        _require_scores(Path(trial.place), trust)
    for trial in chosen:
        tags = version_tags(sweep, trial, trust)
        client, version = add_version(Path(trial.place), name or trial.model_name, tags, trust)
        if alias:
            done = promote(client, version, alias, force)
        else:
            done = Registered(version.name, str(version.version), False, "without an alias")
        _show(done, alias)
        registered.append(done)
    return registered


def _require_scores(run_dir: Path, trust: Collection[str]) -> None:
    """Raise InputError unless a run can be loaded, and gives a finite score to noise of every machine ID."""
    import numpy as np

    from mimii_pl.scoring.load_run import load_run, noise_clips

    scorer = load_run(run_dir, device="cpu", trust=trust)
    ids = np.arange(len(scorer.labels))
    if not np.isfinite(scorer.predict_waves(noise_clips(scorer, len(ids)), ids)).all():
        raise InputError(f"{run_dir} gives scores that are not finite: it is not registered")


def version_tags(sweep: Sweep, trial: Trial, trust: Collection[str] = ()) -> dict[str, str]:
    """Return the tags of a version: its origin, and the criterion and the clips by which it was chosen."""
    run_dir = Path(trial.place)
    cfg, facts, name = sweep.config(trial), read_facts(run_dir), criterion([trial])
    peers = [other for other in sweep.trials if (other.machine, other.target) == (trial.machine, trial.target)]
    clips = "clips of every class" if trial.target else "normal clips"
    rule = f"highest {name} on held-out {clips} of {len(peers)} runs" if len(peers) > 1 else "by hand"
    choices = {group: str(cfg.choices.get(group)) for group in ("model", "backend", "dataset", "protocol")}
    task: type[Task] = task_class(cfg, trust)
    return {
        **choices,
        "machine": trial.machine,
        **({"target": trial.target} if trial.target else {}),
        "seed": str(cfg.seed),
        "sweep": parent_run_id(run_dir.parent) or "",
        "run_dir": str(run_dir),
        "mimii_pl": __version__,
        "criterion": name,
        "value": repr(trial.figures[name]),
        "held_out": facts.get("held_out", ""),
        "selection": f"{rule}; checkpoint: {task.checkpoint_rule}",
        **{key: repr(value) for key, value in trial.figures.items()},
        "threshold": str(facts.get("threshold", "")),
        **({"parent": facts["parent"]} if "parent" in facts else {}),
    }


def register_winners(sweep_dir: Path, trust: Collection[str] = ()) -> list[Registered]:
    """Register the best run of each machine of a sweep, the last step of `best=`."""
    if not any(read_config(path.parent).trainer.get("logger") for path in sweep_dir.glob("*/config.yaml")):
        print("nothing is registered: the runs are not recorded in MLflow (logger=none)")
        return []
    return register(run=str(sweep_dir), trust=trust)


def _show(done: Registered, alias: str | None) -> None:
    from mimii_pl.core.console import Console

    use = f"models:/{done.name}@{alias}" if done.moved else f"models:/{done.name}/{done.number}"
    state = f"is now {alias}" if done.moved else "registered"
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{done.name} version {done.number} {state}: {done.reason}")
    console.print(f"  score with it: mimii score {shlex.quote(f'run={use}')} input=recordings/")
