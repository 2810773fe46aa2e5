"""The winners of a sweep."""

import os

import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import write_facts
from mimii_pl.core.stored_config import TASKS
from mimii_pl.sweep.winners import best_runs, directory_sweep, find_sweep, winners


@pytest.fixture(scope="module")
def composed():
    return compose(["model=dense_ae"])


@pytest.fixture
def child(composed):
    """Writes a finished child of a sweep; `options` by dotted key."""

    def write(folder, options=None, **facts):
        cfg = composed.copy()
        for key, value in (options or {}).items():
            OmegaConf.update(cfg, key, value, force_add=True)
        folder.mkdir(parents=True)
        cfg.run_dir = str(folder)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        write_facts(folder, **{"status": "finished", **facts})
        (folder.parent / "sweep.json").write_text("{}")

    return write


def names(trials):
    return [trial.name for trial in trials]


def test_options_win_by_their_mean_over_seeds_and_a_run_by_itself(tmp_path, child):
    for number, (lr, seed, auc) in enumerate([(1e-3, 0, 0.9), (1e-3, 1, 0.5), (1e-4, 0, 0.8), (1e-4, 1, 0.85)]):
        child(tmp_path / f"{number}-fan", {"model.lr": lr, "seed": seed}, sensitivity=auc)
    child(tmp_path / "4-pump", {"machine.name": "pump"}, sensitivity=0.3)
    child(tmp_path / "5-fan", {"model.lr": 1.0}, sensitivity=float("nan"))
    child(tmp_path / "6-fan", {"model.lr": 2.0}, sensitivity=1.0, status="running")
    sweep = directory_sweep(tmp_path)
    assert names(winners(sweep)) == ["3-fan", "4-pump"]
    assert names(best_runs(sweep)) == ["0-fan", "4-pump"]


def test_the_objective_of_a_search_goes_before_the_usual_criterion(tmp_path, child):
    child(tmp_path / "0-fan", {"model.lr": 1.0, "objective": "loss"}, sensitivity=0.9, objective=-3.0)
    child(tmp_path / "1-fan", {"model.lr": 2.0, "objective": "loss"}, sensitivity=0.8, objective=-2.0)
    child(tmp_path / "2-fan", {"model.lr": 3.0}, sensitivity=0.99)
    assert names(winners(directory_sweep(tmp_path))) == ["1-fan"]


def test_classifiers_win_by_target(tmp_path, child):
    for number, (target, accuracy) in enumerate([("condition", 0.7), ("condition", 0.8), ("machine_id", 0.6)]):
        options = {
            "target": target,
            "task._target_": TASKS["classification"],
            "choices.task": "classification",
            "model.lr": number,
        }
        child(tmp_path / f"{number}-fan", options, balanced_accuracy=accuracy)
    won = winners(directory_sweep(tmp_path))
    assert [(trial.name, trial.model_name) for trial in won] == [
        ("1-fan", "fan-condition"),
        ("2-fan", "fan-machine_id"),
    ]


def test_names_of_machines_become_names_of_models(tmp_path, child):
    child(tmp_path / "0", {"machine.name": "press: 7.b"}, sensitivity=0.5)
    assert directory_sweep(tmp_path).trials[0].model_name == "press_ 7_b"


def test_latest_is_the_newest_sweep_that_looked_for_something(tmp_path, child):
    for age, (name, options) in enumerate(
        [("retrained", {"best": "searched"}), ("searched", {}), ("older", {}), ("unfinished", {})]
    ):
        child(
            tmp_path / name / "0-fan",
            options,
            sensitivity=0.5,
            status="running" if name == "unfinished" else "finished",
        )
        os.utime(tmp_path / name / "sweep.json", (1e9 - age, 1e9 - age))
    assert find_sweep("latest", "sqlite:///nowhere.db", "mimii_pl", tmp_path).name == "searched"


def test_what_is_no_sweep_is_said(tmp_path, child):
    with pytest.raises(InputError, match="nothing: neither the directory of a sweep, nor its MLflow ID"):
        find_sweep("nothing", "sqlite:///nowhere.db", "mimii_pl")
    with pytest.raises(InputError, match="it has no finished run"):
        find_sweep(str(tmp_path), "sqlite:///nowhere.db", "mimii_pl")
    with pytest.raises(InputError, match=r"nowhere\.db is missing: train something first"):
        find_sweep("latest", f"sqlite:///{tmp_path}/nowhere.db", "mimii_pl", tmp_path)
    child(tmp_path / "0-fan", sensitivity=float("nan"))
    with pytest.raises(InputError, match="no run on fan has a defined sensitivity"):
        winners(directory_sweep(tmp_path))
