"""Finished runs as versions of registered models: by hand, or the best seed of a winner trained again."""

from pathlib import Path

from mimii_pl import __version__
from mimii_pl.core.config import class_of, read_config
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run, parent_run_id, read_facts
from mimii_pl.sweep.winners import Sweep, Trial, best_runs, criterion, directory_sweep
from mimii_pl.tracking.registry import ALIAS, Registered, add_version, promote


def register(*, run: str, name: str | None = None, alias: str | None = ALIAS, force: bool = False) -> list[Registered]:
    """Make runs versions of registered models, and put the alias on those that deserve it.

    Args:
        run: a run directory, `latest`, or a sweep's directory: of each machine the run of highest criterion.
        name: of the model; None: the machine type, of a classifier with its target.
        alias: for the version in use; None: none.
        force: whether it moves even where this version is not known to be better.

    Raises:
        InputError: there is no such finished run, or it is not recorded in MLflow.
    """
    sweep = directory_sweep(Path(run) if Path(run).is_dir() else find_run(run))
    chosen = best_runs(sweep)
    if name and len(chosen) > 1:
        names = ", ".join(trial.model_name for trial in chosen)
        raise InputError(f"name={name}: the sweep has a best run for each of {names}; leave the name out")
    done = []
    for trial in chosen:
        client, version = add_version(trial.place, name or trial.model_name, tags_of(sweep, trial))
        done.append(
            promote(client, version, alias, force)
            if alias
            else Registered(version.name, str(version.version), False, "no alias was asked for")
        )
        _show(done[-1], alias)
    return done


def tags_of(sweep: Sweep, trial: Trial) -> dict[str, str]:
    """What a version says of itself: where it comes from, and by what it was chosen on which clips."""
    cfg, facts, name = sweep.config(trial), read_facts(trial.place), criterion([trial])
    peers = [one for one in sweep.trials if (one.machine, one.target) == (trial.machine, trial.target)]
    clips = "clips of every class" if trial.target else "normal clips"
    rule = f"highest {name} on held-out {clips} of {len(peers)} runs" if len(peers) > 1 else "by hand"
    choices = {group: str(cfg.choices.get(group)) for group in ("model", "backend", "dataset", "protocol")}
    return {
        **choices, "machine": trial.machine, **({"target": trial.target} if trial.target else {}),
        "seed": str(cfg.seed), "sweep": parent_run_id(trial.place.parent) or "",
        "run_dir": str(trial.place), "mimii_pl": __version__,
        "criterion": name, "value": repr(trial.figures[name]), "held_out": facts.get("held_out", ""),
        "selection": f"{rule}; checkpoint: {class_of(cfg.task).checkpoint_rule}",
        **{key: repr(value) for key, value in trial.figures.items()}, "threshold": str(facts.get("threshold", "")),
    }  # fmt: skip


def register_winners(sweep_dir: Path) -> list[Registered]:
    """What `best=` ends with."""
    if not any(read_config(path.parent).trainer.get("logger") for path in sweep_dir.glob("*/config.yaml")):
        print("nothing is registered: the runs are not recorded in MLflow (logger=none)")
        return []
    return register(run=str(sweep_dir))


def _show(done: Registered, alias: str | None) -> None:
    from rich.console import Console

    use = f"models:/{done.name}@{alias}" if done.moved else f"models:/{done.name}/{done.number}"
    state = f"is now {alias}" if done.moved else "registered"
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{done.name} version {done.number} {state}: {done.reason}", markup=False)
    console.print(f"  score with it: mimii score run={use} input=recordings/", markup=False)
