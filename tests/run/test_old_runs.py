"""A run directory of the version before the modules moved: it can do everything that a new one can."""

import csv
import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support import old_run, world

import mimii_pl
from mimii_pl.core.config import build, compose
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.report import leaderboard
from mimii_pl.rerun import decide, rescore, resumed
from mimii_pl.run import describe_run, run
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scores import read_scores
from mimii_pl.sweep.experiment import as_experiment
from mimii_pl.sweep.register import register
from mimii_pl.sweep.winners import directory_sweep, winners
from mimii_pl.tracking.load import score
from mimii_pl.tracking.logger import Recorder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")


@pytest.fixture
def folder(tmp_path):
    """A folder with the world that the runs were trained on."""
    world.write(tmp_path / "world", train=8, test=3, seconds=1.0)
    return tmp_path


@pytest.fixture
def anomaly(folder):
    return old_run.restore("anomaly", folder)


@pytest.fixture
def classes(folder):
    return old_run.restore("classes", folder)


def test_it_was_stored_before_the_move():
    text = (old_run.DATA / "anomaly" / "config.yaml").read_text()
    assert "mimii_pl.tracking._callbacks" in text
    assert "mimii_pl.tracking._logger" in text
    assert "task" not in OmegaConf.create(text)


@pytest.mark.parametrize("name", ["anomaly", "classes"])
def test_its_configuration_names_classes_that_exist(name):
    cfg = read_config(old_run.DATA / name)
    cfg.trainer.logger = False
    assert build(cfg.trainer).max_epochs == cfg.training.epochs
    assert build(cfg.task, backend=None, threshold=None, target=cfg.target, objective=cfg.objective)


def test_it_gives_the_scores_and_decisions_that_it_gave(anomaly):
    clips = read_scores(anomaly / "scores.csv")
    assert len({clip.score for clip in clips}) == len(clips) == 12
    scorer = mimii_pl.load(anomaly, device="cpu")
    decisions = scorer.decide([clip.file for clip in clips], machine_id=[clip.id for clip in clips])
    np.testing.assert_allclose(decisions.score, [clip.score for clip in clips], rtol=1e-4)
    assert decisions.anomalous.tolist() == [clip.decision == 1 for clip in clips]


def test_it_gives_the_probabilities_that_it_gave(classes):
    with open(classes / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shares = mimii_pl.load(classes, device="cpu").classify([row["file"] for row in rows])
    stored = [[float(row["p(normal)"]), float(row["p(anomaly)"])] for row in rows]
    np.testing.assert_allclose(shares, stored, rtol=1e-4)


def test_it_scores_a_folder(anomaly, folder):
    written = score(run=str(anomaly), input=str(folder / "world" / "fan" / "test"), output=str(folder / "out.csv"))
    with open(written, newline="") as file:
        scores = {row["file"]: float(row["score"]) for row in csv.DictReader(file)}
    stored = {clip.file: clip.score for clip in read_scores(anomaly / "scores.csv")}
    assert scores == pytest.approx(stored, rel=1e-4)


@pytest.mark.slow
def test_it_is_rescored_by_another_back_end(anomaly, folder):
    overrides = ["logger=none", "report=brief", "efficiency.seconds=0", f"run={anomaly}", "backend=mahalanobis"]
    rescore(compose(overrides, "command/rescore"), folder / "rescored")
    assert read_facts(folder / "rescored")["rescored_from"] == str(anomaly)
    before, after = (read_scores(path / "scores.csv") for path in (anomaly, folder / "rescored"))
    assert [clip.file for clip in after] == [clip.file for clip in before]
    assert not np.allclose([clip.score for clip in after], [clip.score for clip in before])


@pytest.mark.slow
def test_the_same_back_end_gives_the_same_results(anomaly, folder):
    same = ["logger=none", "report=brief", "efficiency.seconds=0", "backend=knn", "backend.metric=euclidean"]
    rescore(compose([*same, f"run={anomaly}"], "command/rescore"), folder / "again")
    before, after = (
        {r[:3]: r.value for r in read_results(path / "results.csv")} for path in (anomaly, folder / "again")
    )
    assert after == pytest.approx(before, nan_ok=True)


@pytest.mark.slow
def test_its_thresholds_are_chosen_again(anomaly):
    _forget_mlflow(anomaly)
    decide(compose([f"run={anomaly}", "report=brief", "threshold=youden"], "command/decide"))
    assert json.loads((anomaly / "thresholds.json").read_text())["origin"].startswith("oracle")
    assert all(clip.decision == clip.label for clip in read_scores(anomaly / "scores.csv") if clip.id == "id_00")


def _forget_mlflow(run_dir):
    """Make a run one that was not recorded."""
    facts = read_facts(run_dir)
    del facts["mlflow_run_id"]
    (run_dir / "run.json").write_text(json.dumps(facts))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anomaly", "classes"])
def test_it_is_trained_longer(name, folder):
    run_dir = old_run.restore(name, folder)
    _forget_mlflow(run_dir)
    epochs = read_config(run_dir).training.epochs
    before = (run_dir / "history.csv").read_text()
    cfg, run_dir = resumed(str(run_dir), [f"trainer.max_epochs={epochs + 1}"])
    cfg.trainer.logger = False
    run(cfg, run_dir)
    facts = read_facts(run_dir)
    assert (facts["status"], facts["epochs"]) == ("finished", epochs + 1)
    after = (run_dir / "history.csv").read_text()
    assert after.startswith(before)
    assert len(after) > len(before)
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == epochs


@pytest.mark.slow
def test_it_becomes_a_registered_model(anomaly, folder, monkeypatch):
    uri = read_config(anomaly).trainer.logger.tracking_uri
    assert str(folder) in uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "models"))
    _forget_mlflow(anomaly)
    cfg = read_config(anomaly)
    recorder = Recorder(build(cfg.trainer.logger), anomaly, describe_run(cfg, anomaly))
    recorder.start()
    recorder.finish(read_results(anomaly / "results.csv"), {})
    (done,) = register(run=str(anomaly))
    assert (done.name, done.number, done.moved) == ("fan", "1", True)
    clips = read_scores(anomaly / "scores.csv")
    scorer = mimii_pl.load("models:/fan@champion", device="cpu")
    scores = scorer.score([clip.file for clip in clips], machine_id=[clip.id for clip in clips])
    np.testing.assert_allclose(scores, [clip.score for clip in clips], rtol=1e-4)


def test_a_sweep_of_such_runs_is_ranked_and_has_a_winner(folder, capsys):
    for number in range(2):
        child = folder / "sweep" / f"{number}-dense_ae-fan"
        old_run.restore("anomaly", child.parent).rename(child)
        write_facts(child, pseudo_auc=0.5 + number / 10, objective=0.5 + number / 10)
    (folder / "sweep" / "sweep.json").write_text("{}")
    rows, others = leaderboard.collect(folder / "sweep")
    leaderboard.show_leaderboard(rows, others, folder / "sweep")
    assert [row["run"] for row in rows] == ["1-dense_ae-fan", "0-dense_ae-fan"]
    assert "dense_ae" in capsys.readouterr().out
    sweep = directory_sweep(folder / "sweep")
    (winner,) = winners(sweep)
    assert as_experiment(sweep.config(winner), winner.name)
