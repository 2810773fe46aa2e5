"""Searches: their names, spaces, interruptions, objectives and figures."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import pytorch_lightning as pl
from filelock import FileLock
from omegaconf import OmegaConf
from optuna.trial import TrialState, create_trial
from support import world
from support.cli import mimii

from mimii_pl.core.arguments import read_override
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import parent_run_id, read_facts
from mimii_pl.core.search_name import digest, search_name
from mimii_pl.run import run
from mimii_pl.sweep import figures
from mimii_pl.sweep import search as search_module
from mimii_pl.sweep.pruning import Pruning
from mimii_pl.sweep.search import OptunaSearch

ROOT = CONF.parent
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")
SPACES = sorted(file.stem for file in (CONF / "sweep" / "space").glob("[!_]*.yaml") if file.stem != "none")
SMALL = ["model=simple_ae", "training.epochs=2", "trainer=cpu", "report=brief", "efficiency.seconds=0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("searched") / "world", train=6, test=2, seconds=1.0)


def search(*overrides: str, space: dict | None = None) -> OptunaSearch:
    cfg = world.composed(*overrides)
    found = OptunaSearch(cfg.sweep, {**cfg.sweep.space, **(space or {})})
    found.grid, found.config = cfg.sweep.sampler is None, OmegaConf.create({"seed": 0})
    return found


@pytest.mark.parametrize("model", SPACES)
def test_a_space_names_options_of_its_detector(model):
    cfg = world.composed(f"model={model}", "sweep=optuna")
    one = search(f"model={model}", "sweep=optuna")
    space, _ = one._build_search_space([])
    one._validate(space)
    assert len(space) > 1
    for name in space:
        OmegaConf.select(cfg, name, throw_on_missing=True)
        assert OmegaConf.select(cfg, name) is not None, name


def test_the_command_line_wins_over_a_space():
    space, fixed = search("sweep=optuna")._build_search_space(["model.lr=tag(log, interval(1e-2, 1e-1))", "seed=3"])
    assert (space["model.lr"].low, space["model.lr"].high, space["model.lr"].log) == (0.01, 0.1, True)
    assert fixed == ["seed=3"]


def test_the_same_question_has_the_same_name():
    asked = ["model=vae", "model.lr=1,2"]
    same = digest(asked, {"a": 1})
    assert digest([*reversed(asked), "sweep.trials=50", "logger=none"], {"a": 1}) == same
    assert digest([*asked, "seed=1"], {"a": 1}) != same
    assert digest(asked, {"a": 2}) != same
    assert search_name(None, "optuna", "vae", "fan", asked, {"a": 1}) == f"vae-fan-{same}"
    assert search_name("mine", "optuna", "vae", "fan", asked, {}) == "mine"


@pytest.mark.parametrize(
    ("way", "space", "message"),
    [
        ("random", {}, "there is nothing to search"),
        ("grid", {"model.lr": "interval(0, 1)"}, "sweep=grid takes lists of values"),
        ("random", {"seed": "choice(0, 1)"}, "one number, which is not comparable across values of seed"),
        ("random", {"machine": "choice(fan, pump)"}, "Start one search for each"),
    ],
)
def test_what_cannot_be_searched_is_said(way, space, message):
    one = search(f"sweep={way}", "sweep/space=none", space=space)
    with pytest.raises(InputError, match=message):
        one._validate(one._build_search_space([])[0])


def test_a_grid_asks_for_what_has_no_result_and_goes_on_with_what_was_under_way():
    one = search("sweep=grid", space={"model.lr": "choice(1, 2)", "model.frames": "choice(3, 5)"})
    space, _ = one._build_search_space([])
    study = optuna.create_study(direction="maximize")
    first = [trial.params for trial in one._missing(study, space)]
    assert len({tuple(params.items()) for params in first}) == 4
    for number, value in ((0, 0.5), (1, float("nan")), (3, 0.7)):
        search_module.tell_study(study, number, value)
    again = list(one._missing(study, space))
    assert [(trial.number, trial.params) for trial in again] == [(2, first[2]), (4, first[1])]  # 1 had failed


def test_values_of_a_grid_are_spelled_for_hydra():
    one = search("sweep=grid", space={"dataset.root": "choice('Ö (1)', 'a,b')", "machine": "choice('7', fan)"})
    study = optuna.create_study()
    space, fixed = one._build_search_space(["dataset.cache_dir='c,d'"])
    trials = [one._overrides(study, trial, fixed) for trial in one._missing(study, space)]
    read = [dict(read_override(item) for item in trial if not item.startswith("sweep.")) for trial in trials]
    assert {(values["dataset.root"], values["machine"]) for values in read} == {
        *(("Ö (1)", "7"), ("Ö (1)", "fan")),
        *(("a,b", "7"), ("a,b", "fan")),
    }
    assert {values["dataset.cache_dir"] for values in read} == {"c,d"}


def test_a_search_makes_up_for_failures_but_not_for_pruned_trials():
    one = search("sweep=random", "sweep.trials=4", space={"model.lr": "interval(0, 1)"})
    space, _ = one._build_search_space([])
    study = optuna.create_study(direction="maximize")
    begun = list(one._missing(study, space))
    begun[1].set_user_attr("pruned", 3)
    for trial, value in zip(begun, (0.5, float("nan"), None, 0.2), strict=True):
        search_module.tell_study(study, trial.number, value)
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert len(list(one._missing(study, space))) == 1


def test_a_trial_that_kills_the_search_each_time_is_given_up():
    one = search("sweep=random", "sweep.trials=1", space={"model.lr": "interval(0, 1)"})
    space, _ = one._build_search_space([])
    study = optuna.create_study(direction="maximize")
    for _ in range(search_module.STARTS):
        trial = next(one._missing(study, space))
        assert trial.number == 0
        assert "sweep.trial=0" in one._overrides(study, trial, [])
    assert next(one._missing(study, space)).number == 1
    assert study.trials[0].state is TrialState.FAIL


def test_going_on_proposes_other_values_than_the_beginning(tmp_path):
    values = set()
    for _ in range(2):
        one = search("sweep=optuna", "sweep.trials=3", f"sweep.storage=sqlite:///{tmp_path}/optuna.db")
        one.folder = tmp_path
        study = one._study("asked")
        values |= {trial.params["model.lr"] for trial in (study.ask(one._build_search_space([])[0]) for _ in range(2))}
    assert len(values) == 4
    with pytest.raises(InputError, match="holds another search"):
        one._study("something else")


def test_figures_show_every_trial(tmp_path):
    study = optuna.create_study(direction="maximize")
    lr = optuna.distributions.FloatDistribution(0, 1)
    width = optuna.distributions.FloatDistribution(0, 1)
    for number in range(12):
        params = {"model.lr": number / 12, "model.width": (number * 7 % 12) / 12}
        study.add_trial(
            create_trial(
                params=params, distributions={"model.lr": lr, "model.width": width}, value=params["model.lr"] ** 2
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL))
    mattered = figures.importance(study)
    assert mattered["model.lr"] > 0.8 > 0.2 > mattered["model.width"]
    figures.write_figures(study, tmp_path)
    assert all((tmp_path / name).stat().st_size > 200 for name in figures.FIGURE_FILES)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 14


@pytest.mark.slow
def test_a_hopeless_trial_is_ended_early(root, tmp_path):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    study = optuna.create_study(study_name=tmp_path.name, storage=storage, direction="maximize")
    study.add_trial(create_trial(value=2.0, intermediate_values={0: 2.0, 1: 2.0}))  # an AUC that nobody reaches
    trial = study.ask()
    cfg = world.configured(
        root,
        *SMALL,
        "sweep=optuna",
        f"sweep.trial={trial.number}",
        "sweep.pruner.n_startup_trials=1",
        "sweep.pruner.n_warmup_steps=1",
        "sweep.look_every=1",
    )
    for _ in range(2):  # also when it is gone on with
        assert math.isnan(run(cfg, tmp_path / "1-simple_ae-fan"))
    facts = read_facts(tmp_path / "1-simple_ae-fan")
    assert facts["status"] == "pruned"
    assert facts["reason"] == "pruned after 2 epochs"
    assert study.trials[1].user_attrs == {"pruned": 1}
    assert sorted(study.trials[1].intermediate_values) == [0, 1]


@pytest.mark.slow
def test_objectives_are_of_held_out_clips(root, tmp_path):
    loss = run(world.configured(root, *SMALL, "objective=loss"), tmp_path / "loss")
    facts = read_facts(tmp_path / "loss")
    assert loss == facts["objective"] == -facts["validation_loss"]
    other = run(world.configured(root, "model=spectrum", "objective=other_ids"), tmp_path / "other")
    assert other > 0.9  # chords of two machines differ in pitch
    diverse = run(world.configured(root, *SMALL, "objective=diverse"), tmp_path / "diverse")
    assert 0.5 < diverse <= 1
    assert diverse == read_facts(tmp_path / "diverse")["objective"] != read_facts(tmp_path / "diverse")["sensitivity"]
    with pytest.raises(InputError, match="without regard to their machine ID"):
        run(world.configured(root, *SMALL, "objective=other_ids"), tmp_path / "no")


@pytest.mark.slow
def test_a_finished_run_is_kept(root, tmp_path):
    first = run(world.configured(root, "model=spectrum"), tmp_path / "run")
    written = (tmp_path / "run" / "scores.csv").stat().st_mtime_ns
    assert run(world.configured(root, "model=spectrum", "report.clips=0"), tmp_path / "run") == first
    assert (tmp_path / "run" / "scores.csv").stat().st_mtime_ns == written
    with pytest.raises(InputError, match=r"holds a finished run with another backend\.k: it is kept"):
        run(world.configured(root, "model=spectrum", "backend.k=2"), tmp_path / "run")
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    del cfg.dataset.full_scale  # as a version stored it that did not have the option
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")
    assert run(world.configured(root, "model=spectrum"), tmp_path / "run") == first
    with pytest.raises(InputError, match=r"holds a finished run with another dataset\.full_scale: it is kept"):
        run(world.configured(root, "model=spectrum", "dataset.full_scale=2.0"), tmp_path / "run")


def options(root: Path) -> list[str]:
    return [
        "sweep=random",
        *SMALL,
        f"dataset.root={root}",
        f"dataset.cache_dir={root.parent / 'cache'}",
        "sweep.trials=5",
        "sweep.name=killed",
        "trainer.logger.tracking_uri=sqlite:///mlflow.db",
    ]


@pytest.mark.slow
def test_a_killed_search_goes_on_and_loses_nothing(root, tmp_path):
    folder = tmp_path / "outputs" / "search" / "killed"
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, ROOT / "train.py", *options(root)]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            started = len(list(folder.glob("[0-9]-*")))
            if started > len(finished(folder)) > 0:  # one killed while it is proposed counts as failed
                break
            time.sleep(0.1)
        assert process.poll() is None, (tmp_path / "log").read_text()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = finished(folder)
    assert 1 <= len(before) < 5, (tmp_path / "log").read_text()
    with FileLock(folder / "search.lock"):  # as another process that searches would hold it
        refused = mimii("train", *options(root), cwd=tmp_path)
    assert "is being searched by another process" in refused.stderr
    done = mimii("train", *options(root), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = finished(folder)
    assert len(after) == 5
    assert before.items() <= after.items()  # not one was run again
    study = optuna.load_study(study_name="killed", storage=f"sqlite:///{folder}/optuna.db")
    assert [(trial.number, trial.state) for trial in study.trials] == [(n, TrialState.COMPLETE) for n in range(5)]
    assert {trial.number: trial.value for trial in study.trials} == {
        int(name.split("-")[0]): read_facts(folder / name)["objective"] for name in after
    }
    assert "best: trial" in done.stdout
    check_recorded(tmp_path, folder)


def test_a_trial_goes_on_when_the_storage_of_its_search_does_not_answer(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/optuna.db"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 0.1}})
    trial = optuna.create_study(storage=storage, direction="maximize").ask()
    pruning = Pruning(trial, interim=lambda trainer, detector: 0.5, every=1)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            pruning.on_validation_end(trainer, pl.LightningModule())
        other.rollback()
    warnings = [record.message for record in caplog.records if record.name.startswith("mimii_pl")]
    assert warnings == ["the search's storage: database is locked: this trial goes on without it"]
    pruning.on_validation_end(trainer, pl.LightningModule())
    assert trial.study.trials[0].intermediate_values == {0: 0.5}


def finished(folder: Path) -> dict[str, int]:
    """Return the time at which each finished run of a search wrote its results."""
    runs = folder.glob("*/run.json")
    return {
        path.parent.name: (path.parent / "results.csv").stat().st_mtime_ns
        for path in runs
        if read_facts(path.parent).get("status") == "finished"
    }


def check_recorded(tmp_path: Path, folder: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    parents = [one for one in runs if "model" not in one.data.tags]
    assert [one.info.run_id for one in parents] == [parent_run_id(folder)]
    assert parents[0].info.status == "FINISHED"
    drawn = {name for name in figures.FIGURE_FILES if (folder / name).is_file()}  # importance only where trials differ
    assert drawn >= {"trials.csv", "history.png"}
    assert {one.path for one in client.list_artifacts(parents[0].info.run_id)} >= {*drawn, "leaderboard.csv"}
    children = [one for one in runs if one is not parents[0]]
    assert len(children) == 5
    assert {one.info.status for one in children} == {"FINISHED"}
    assert {one.data.tags["mlflow.parentRunId"] for one in children} == {parents[0].info.run_id}
