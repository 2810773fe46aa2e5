"""`experiment=auto`: choose among the runs of a sweep without a label, and fuse those that are chosen."""

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.arguments import quoted
from mimii_pl.core.config import compose
from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.grouping import group_by
from mimii_pl.core.trusted_classes import trusted_by
from mimii_pl.fuse import fuse, judge_count
from mimii_pl.report.grid import Grid
from mimii_pl.report.leaderboard import group_of
from mimii_pl.report.screen import print_grid
from mimii_pl.report.tables import number
from mimii_pl.sweep.leaderboard_callback import Leaderboard


class Choice(NamedTuple):
    """A run of the shortlist, whether it is chosen, and why."""

    row: Mapping[str, Any]
    chosen: bool
    why: str


class FusingLeaderboard(Leaderboard):
    """Leaderboard of a sweep that then chooses runs by their objective, of held-out clips alone, and fuses them.

    The objective ranks detectors of one kind well and those of different kinds poorly, so the detectors of `always` are
    chosen in any case, and every judge counts alike: a committee of six weighs as much as six other runs.

    Args:
        within: how far below the best objective a run may be.
        most: number of runs that are fused.
        always: detectors that are chosen whatever their objective.
    """

    def __init__(self, *, within: float = 0.05, most: int = 3, always: Sequence[str] = ("committee",)) -> None:
        self.within, self.most, self.always = within, most, list(always)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        super().on_multirun_end(config, **kwargs)
        sweep_dir, trust = Path(config.hydra.sweep.dir).resolve(), sorted(trusted_by(config) - {"mimii_pl"})
        try:
            for group, rows in group_by(self.rows, group_of).items():
                choices = choose(rows, self.within, self.most, self.always)
                runs = [sweep_dir / choice.row["run"] for choice in choices if choice.chosen]
                weights = [judge_count(run, trust) for run in runs]
                print_grid(Console(), as_grid(", ".join(filter(None, group)), choices, weights))
                if len(runs) > 1:
                    logger = "mlflow" if OmegaConf.select(config, "trainer.logger") else "none"
                    options = [
                        f"runs=[{','.join(quoted(str(run)) for run in runs)}]",
                        f"trust=[{','.join(trust)}]",
                        f"logger={logger}",
                    ]
                    options.append(f"weights=[{','.join(map(str, weights))}]")
                    options.append(f"efficiency.seconds={config.efficiency.seconds}")
                    fuse(compose(options, "command/fuse"), sweep_dir / f"fused-{'-'.join(filter(None, group))}")
        except InputError as error:
            sys.exit(f"error: {error}")  # Hydra makes a warning of an error in a callback


def choose(rows: Sequence[Mapping[str, Any]], within: float, most: int, always: Collection[str] = ()) -> list[Choice]:
    """Choose the runs of a machine type that are fused: the best by its objective, and others not far below it.

    Args:
        rows: of the leaderboard, best first.
        within: how far below the best objective a run may be.
        most: number of runs that are fused.
        always: detectors that are chosen whatever their objective.
    """
    choices: list[Choice] = []
    most -= sum(row["model"] in always for row in rows)
    best = rows[0]["objective"] if rows else math.nan
    for row in rows:
        below = best - row["objective"]
        if row["model"] in always:
            choices.append(Choice(row, True, "always: near the best on every machine"))
        elif not math.isfinite(row["objective"]):
            choices.append(Choice(row, False, "its objective is not a number"))
        elif below > within:
            choices.append(Choice(row, False, f"{number(below)} below the best, more than {number(within)}"))
        elif sum(choice.chosen and choice.row["model"] not in always for choice in choices) >= most:
            choices.append(Choice(row, False, "enough are chosen already"))
        else:
            choices.append(Choice(row, True, f"{number(below)} below the best" if below > 0 else "the best"))
    return choices


def as_grid(machine: str, choices: Sequence[Choice], weights: Sequence[int]) -> Grid:
    """Show a choice as a table; `weights` are those of the runs that are chosen."""
    weighed = iter(weights)
    rows: list[tuple[str, ...]] = [
        (
            choice.row["name"],
            number(choice.row["objective"]),
            f"{choice.row['train_seconds']:.3g} s",
            f"{next(weighed)}" if choice.chosen else "",
            choice.why,
        )
        for choice in choices
    ]
    note = (
        "Chosen by the objective, of held-out normal clips: no test label is read. Weight: number of judges; those "
        "without a weight are not fused."
    )
    heads = ("detector", "objective", "training", "weight", "why")
    return Grid(f"Choice on {machine}", heads, rows, note, kept=("objective", "why"))
