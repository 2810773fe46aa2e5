"""`experiment=auto`: choosing among the runs of a sweep without a label, and fusing them."""

import math
import re

import pytest
from support import cli, world

from mimii_pl.choose import as_grid, choose
from mimii_pl.core.durations import share_of_time
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.scoring.load_run import load_run


def rows(*objectives):
    return [
        {"name": f"d{place}", "model": f"d{place}", "objective": value, "train_seconds": 1.0}
        for place, value in enumerate(objectives)
    ]


def test_the_best_and_those_close_to_it_are_chosen():
    choices = choose(rows(0.8, 0.78, 0.76, 0.755, 0.6, math.nan), within=0.05, most=3)
    assert [choice.chosen for choice in choices] == [True, True, True, False, False, False]
    assert [choice.why for choice in choices] == [
        "the best",
        ".020 below the best",
        ".040 below the best",
        "enough are chosen already",
        ".200 below the best, more than .050",
        "its objective is not a number",
    ]
    rows_shown = as_grid("fan", choices, [7, 1, 1]).rows
    assert rows_shown[0] == ("d0", ".800", "1 s", "7", "the best")
    assert rows_shown[3][3] == ""
    assert not choose([], within=0.05, most=3)


def test_some_are_chosen_whatever_their_objective():
    choices = choose(rows(0.9, 0.89, 0.88, 0.2), within=0.05, most=2, always=["d3"])
    assert [choice.chosen for choice in choices] == [True, False, False, True]


def test_a_time_is_divided_among_runs():
    assert share_of_time("90s", 2) == "00:00:00:45"
    assert share_of_time("50h", 2) == "01:01:00:00"
    assert share_of_time("1.5m", 1) == "00:00:01:30"
    for wrong in ("10", "ten minutes", "-1m", "0s"):
        with pytest.raises(InputError, match=rf"time={re.escape(wrong)}: should be a time, such as 90s, 10m or 2h"):
            share_of_time(wrong, 2)


@pytest.mark.slow
def test_one_command_chooses_and_fuses(tmp_path):
    root = world.write(tmp_path / "data")
    done = cli.mimii(
        "train",
        "experiment=auto",
        "time=8s",
        "model=committee,idnn",
        "machine=fan",
        f"dataset.root={root}",
        "dataset.download=false",
        "hydra.callbacks.leaderboard.within=1",
        f"hydra.sweep.dir={tmp_path}/auto",
        "logger=none",
        "report=brief",
        "efficiency.seconds=0",
        cwd=tmp_path,
    )
    assert "Choice on fan" in done.stdout
    assert "the best" in done.stdout
    fused = tmp_path / "auto" / "fused-fan"
    assert read_facts(fused)["status"] == "finished"
    scorer = load_run(fused)
    assert sorted(scorer.member_names) == ["committee", "idnn"]
    assert dict(zip(scorer.member_names, scorer.weights, strict=True)) == {"committee": 6, "idnn": 1}
