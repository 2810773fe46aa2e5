"""The leaderboard of classifiers: ranked within each target by held-out clips, and written for papers."""

import json
import math

import pytest

from mimii_pl.core.config import compose
from mimii_pl.report import class_leaderboard, leaderboard
from mimii_pl.report.cost import COSTS
from mimii_pl.report.grid import to_latex, to_markdown
from mimii_pl.scoring.results import Result, write_results

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(tmp_path):
    """Children of a sweep, as runs leave them: (held-out, test) balanced accuracy by target and detector."""
    made = {
        ("condition", "svm"): (0.7, 0.9),
        ("condition", "simple_classifier"): (0.8, 0.6),
        ("machine_id", "svm"): (0.95, 0.9),
        ("machine_id", "simple_classifier"): (0.9, 1.0),
    }
    for number, ((target, model), (held_out, tested)) in enumerate(made.items()):
        child = tmp_path / f"{number}-{model}-fan"
        child.mkdir()
        cfg = compose(["task=classification", f"target={target}", f"model={model}", f"run_dir={child}"])
        from omegaconf import OmegaConf

        OmegaConf.resolve(cfg)
        (child / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        facts = {"status": "finished", "balanced_accuracy": held_out, "epochs": 3} | dict.fromkeys(COSTS, 2.0)
        (child / "run.json").write_text(json.dumps(facts))
        write_results(child / "results.csv", [Result("fan", "all", "balanced_accuracy", tested)])
    return tmp_path


def test_classifiers_are_ranked_within_their_target_by_held_out_clips(sweep):
    rows, failed = leaderboard.collect(sweep)
    assert not failed
    ranked = [(row["target"], row["rank"], row["model"]) for row in rows]
    assert ranked == [
        ("condition", 1, "simple_classifier"),
        ("condition", 2, "svm"),
        ("machine_id", 1, "svm"),
        ("machine_id", 2, "simple_classifier"),
    ]
    assert [row["balanced_accuracy"] for row in rows] == [0.6, 0.9, 0.9, 1.0]
    assert math.isnan(rows[0]["accuracy"])
    assert not any(row["overrides"] for row in rows)


def test_the_tables_for_papers_name_target_and_selection(sweep):
    grids = class_leaderboard.grids(leaderboard.collect(sweep)[0])
    assert [grid.title for grid in grids] == ["Classifiers by condition on fan", "Classifiers by machine_id on fan"]
    for grid in grids:
        assert all(len(row) == len(grid.heads) for row in grid.rows)
        assert "no test label is read to rank" in to_latex(grid, "tab:x")
        assert "| simple_classifier |" in to_markdown(grid)
