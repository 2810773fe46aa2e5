"""MLflow for real: the default store and a server; sweeps and their leaderboard."""

import csv
import json
import multiprocessing
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from support import world
from support.cli import mimii

from mimii_pl import load
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import write_table
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.report import leaderboard, repeats
from mimii_pl.report.cost import COSTS
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results
from mimii_pl.sweep.register import register
from mimii_pl.tracking.description import RunDescription
from mimii_pl.tracking.logger import Recorder, RunLogger
from mimii_pl.tracking.store import open_store

ROOT = CONF.parent
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    for machine in ("fan", "pump"):
        folder = world.write(tmp_path_factory.getbasetemp() / "tracked" / "world", machine=machine, train=6, test=2)
    return folder


def configured(root, uri, *overrides):
    return compose(
        [
            "model=dense_ae",
            "trainer=smoke",
            f"dataset.root={root}",
            f"dataset.cache_dir={root.parent / 'cache'}",
            f"trainer.logger.tracking_uri={uri}",
            *overrides,
        ]
    )


def command_line(tmp_path, root, *overrides):
    """`python train.py` in an empty folder, with no MLflow server in its environment."""
    where = f"dataset.root={root}", f"dataset.cache_dir={root.parent / 'cache'}"
    return mimii("train", "model=dense_ae", "trainer=smoke", *where, *overrides, cwd=tmp_path)


def check_recorded(client, run_dir):
    """The MLflow run of a run directory says what the directory says."""
    recorded = client.get_run(read_facts(run_dir)["mlflow_run_id"])
    assert recorded.info.status == "FINISHED"
    assert recorded.info.run_name == "dense_ae-fan"
    tags = recorded.data.tags
    assert (tags["model"], tags["machine"], tags["dataset"], tags["backend"]) == (
        "dense_ae",
        "fan",
        "dcase2020",
        "none",
    )
    assert recorded.data.params["model.lr"] == "0.001"
    for result in read_results(run_dir / "results.csv"):
        if result.metric in ("auc", "pauc", "pr_auc"):
            assert recorded.data.metrics[f"test/{result.metric}/{result.id}"] == pytest.approx(result.value)
    assert {"val/loss", "train/loss", "val/sensitivity", "test/official_2020/mean"} <= set(recorded.data.metrics)
    assert {f"efficiency/{name}" for name in COSTS} <= set(recorded.data.metrics)
    names = {item.path for item in client.list_artifacts(recorded.info.run_id)}
    assert {"scores.csv", "results.csv", "config.yaml", "report.html", "checkpoints"} <= names
    return recorded


@pytest.mark.slow
def test_the_default_store_is_a_database_with_artifacts_beside_it(root, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    run(configured(root, uri), tmp_path / "run")
    recorded = check_recorded(mlflow.MlflowClient(uri), tmp_path / "run")
    assert (tmp_path / "mlruns" / "artifacts" / recorded.info.run_id / "artifacts" / "scores.csv").is_file()


@pytest.mark.slow
def test_a_server_records_the_same(root, server, tmp_path):
    run(configured(root, server.url), tmp_path / "run")
    check_recorded(mlflow.MlflowClient(server.url), tmp_path / "run")


@pytest.mark.slow
def test_a_server_keeps_models_too(root, server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run(configured(root, server.url, "backend=lof", "report=brief", "efficiency.seconds=0"), tmp_path / "run")
    assert [(done.name, done.number, done.moved) for done in register(run=str(tmp_path / "run"))] == [
        ("fan", "1", True)
    ]
    clips = sorted((root / "fan" / "test").glob("*id_00*.wav"))
    scores = [load(one).score(clips, machine_id="id_00") for one in (tmp_path / "run", "models:/fan@champion")]
    assert list(scores[0]) == list(scores[1])
    assert (next(tmp_path.glob("cache/mimii_pl/models/fan-1-*")) / "backend.npz").is_file()


def _recorder(uri, folder, ready, number):
    run_dir = Path(folder, str(number))
    run_dir.mkdir()
    write_facts(run_dir, status="running")
    logger = RunLogger(tracking_uri=uri)
    recorder = Recorder(logger, run_dir, RunDescription("run", {}, {}), strict=True)
    ready.wait()
    recorder.start()
    with recorder.sending():
        for step in range(20):
            logger.log_metrics({f"loss{name}": float(number) for name in range(5)}, step=step)
            time.sleep(0.2)
    recorder.end("KILLED")


@pytest.mark.slow
def test_processes_that_make_a_store_at_once_and_one_that_holds_it_for_long_lose_nothing(tmp_path):
    uri, context = f"sqlite:///{tmp_path}/mlruns/mlflow.db", multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    recorders = [context.Process(target=_recorder, args=(uri, tmp_path, ready, number)) for number in range(4)]
    for process in recorders:
        process.start()
    open_store(uri, "mimii_pl")
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db", timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(7)  # longer than sqlite3 itself would wait
        other.rollback()
    for process in recorders:
        process.join()
    assert [process.exitcode for process in recorders] == [0, 0, 0, 0]
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    assert sorted(run.data.metrics["loss4"] for run in runs) == [0, 1, 2, 3]
    assert {len(client.get_metric_history(run.info.run_id, "loss0")) for run in runs} == {20}


def test_the_usual_environment_variable_works(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert compose([]).trainer.logger.tracking_uri == "http://somewhere:5000"


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_named_before_training(root, tmp_path):
    with pytest.raises(InputError, match=r"no answer from the MLflow server at http://127.0.0.1:9.*logger=none"):
        run(configured(root, "http://127.0.0.1:9"), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def finished_child(sweep_dir, number, model, machine, criterion, auc, task="anomaly"):
    """A child's directory, written with the project's own functions."""
    from omegaconf import OmegaConf

    from mimii_pl.scoring.results import Result, write_results

    child = sweep_dir / f"{number}-{model}-{machine}"
    child.mkdir(parents=True)
    cfg = compose([f"task={task}", f"model={model}", f"machine={machine}", f"seed={number}", f"run_dir={child}"])
    OmegaConf.resolve(cfg)
    (child / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    metrics = ("auc", "pauc", "pr_auc") if task == "anomaly" else ("precision", "recall", "f1", "auc", "n")
    ids = ("id_00", "mean", "min") if task == "anomaly" else ("all", "id_00")
    write_results(child / "results.csv", [Result(machine, id_, metric, auc) for id_ in ids for metric in metrics])
    criteria = {"sensitivity": criterion} if task == "anomaly" else {"balanced_accuracy": criterion}
    write_facts(child, status="finished", epochs=2, parameters=1000 * (number + 1), **criteria)


def test_the_leaderboard_ranks_by_what_no_test_label_can_move(tmp_path, capsys):
    finished_child(tmp_path, 0, "complex_ssl", "fan", 0.6, auc=0.99)
    finished_child(tmp_path, 1, "dense_ae", "fan", 0.8, auc=0.51)
    finished_child(tmp_path, 2, "dense_ae", "pump", float("nan"), auc=float("nan"))
    finished_child(tmp_path, 10, "dense_ae", "pump", 0.7, auc=0.6)
    (tmp_path / "3-dense_ae-nosuch").mkdir()
    (tmp_path / "3-dense_ae-nosuch" / "failed.txt").write_text("Traceback\nno recordings of machine 'nosuch'")
    (tmp_path / "4-vae-fan").mkdir()
    write_facts(tmp_path / "4-vae-fan", status="pruned", reason="ended after 3 epochs")
    rows, others = leaderboard.collect(tmp_path)
    assert [(row["machine"], row["rank"], row["run"]) for row in rows] == [
        ("fan", 1, "1-dense_ae-fan"),
        ("fan", 2, "0-complex_ssl-fan"),
        ("pump", 1, "10-dense_ae-pump"),
        ("pump", 2, "2-dense_ae-pump"),
    ]
    assert others == [
        ("3-dense_ae-nosuch", "failed", "no recordings of machine 'nosuch'"),
        ("4-vae-fan", "pruned", "ended after 3 epochs"),
    ]
    assert rows[0]["overrides"] == "seed=1"
    write_table(tmp_path / "leaderboard.csv", rows, leaderboard.leaderboard_columns())
    leaderboard.show_leaderboard(rows, others, tmp_path)
    shown = capsys.readouterr().out
    assert "failed 3-dense_ae-nosuch: no recordings" in shown
    assert "pruned 4-vae-fan: ended after 3 epochs" in shown
    assert "no test label is read to rank" in " ".join(shown.split())
    with open(tmp_path / "leaderboard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [row["rank"] for row in lines] == ["1", "2", "1", "2"]
    assert [row["parameters"] for row in lines] == ["2000", "1000", "11000", "3000"]  # in plain numbers
    assert {row["macs"] for row in lines} == {"nan"}
    assert re.search(r"^ *10 +dense_ae \(seed=10\) +2 +11.0k +- +- +- +- *$", shown, re.MULTILINE)


def test_a_leaderboard_is_ranked_by_the_objective_that_was_asked_for(tmp_path, capsys):
    for number, (criterion, objective) in enumerate([(0.9, -0.5), (0.8, -0.1)]):
        finished_child(tmp_path, number, "dense_ae", "fan", criterion, auc=0.5)
        child = tmp_path / f"{number}-dense_ae-fan"
        asked = (child / "config.yaml").read_text().replace("objective: sensitivity", "objective: loss")
        (child / "config.yaml").write_text(asked)
        write_facts(child, objective=objective)
    rows, others = leaderboard.collect(tmp_path)
    assert [row["run"] for row in rows] == ["1-dense_ae-fan", "0-dense_ae-fan"]
    leaderboard.show_leaderboard(rows, others, tmp_path)
    assert "by the negative validation loss on held-out clips" in " ".join(capsys.readouterr().out.split())


def test_repeated_runs_are_summed_up(tmp_path, capsys):
    for number, (model, auc) in enumerate([("dense_ae", 0.6), ("dense_ae", 0.8), ("level", 0.5), ("dense_ae", 0.7)]):
        finished_child(tmp_path, number, model, "fan", auc / 2, auc=auc)
    rows, failed = leaderboard.collect(tmp_path)
    repeated = repeats.summarise(rows)
    assert [(line["model"], line["runs"]) for line in repeated] == [("dense_ae", 3), ("level", 1)]
    assert repeated[0]["auc"] == pytest.approx(0.7)
    assert repeated[0]["auc_std"] == pytest.approx(0.1)  # of a sample
    assert repeated[0]["sensitivity"] == pytest.approx(0.35)
    assert repeated[0]["parameters"] == pytest.approx(7000 / 3)
    assert repeated[1]["auc_std"] != repeated[1]["auc_std"]
    assert "seed" not in repeated[0]["overrides"]
    leaderboard.show_leaderboard(rows, failed, tmp_path, repeated)
    assert ".700±.100" in capsys.readouterr().out
    assert repeats.summarise([row for row in rows if row["run"] in ("0-dense_ae-fan", "2-level-fan")]) == []


def test_a_sweep_over_both_tasks_has_a_leaderboard_and_a_summary_for_each(tmp_path, capsys):
    for number, auc in enumerate((0.6, 0.8)):
        finished_child(tmp_path, number, "dense_ae", "fan", auc, auc=auc)
    for number in (2, 3):
        finished_child(tmp_path, number, "svm", "fan", 0.5, auc=0.5, task="classification")
    rows, others = leaderboard.collect(tmp_path)
    repeated = repeats.summarise(rows)
    assert [(line["model"], line["runs"]) for line in repeated] == [("dense_ae", 2), ("svm", 2)]
    leaderboard.show_leaderboard(rows, others, tmp_path, repeated)
    shown = capsys.readouterr().out
    assert (shown.count("Leaderboard"), shown.count("Over repeated runs")) == (2, 2)
    write_table(tmp_path / "summary.csv", repeated, repeats.summary_columns(repeated))
    with open(tmp_path / "summary.csv", newline="") as file:
        assert [bool(row["val_balanced_accuracy"]) for row in csv.DictReader(file)] == [False, True]


@pytest.mark.slow
def test_a_sweep_from_the_command_line(root, tmp_path):
    done = command_line(tmp_path, root, "machine=fan,pump,nosuch", "-m")
    assert done.returncode == 0, done.stderr
    assert "failed 2-dense_ae-nosuch: no recordings of machine 'nosuch'" in " ".join(done.stdout.split())
    sweep_dir = next(Path(tmp_path, "outputs").glob("*/*-sweep"))
    assert (sweep_dir / "leaderboard.csv").is_file()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    parent = json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"]
    children = [item for item in runs if item.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(item.info.run_name for item in children) == ["dense_ae-fan", "dense_ae-pump"]
    assert client.get_run(parent).info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(parent)] == ["leaderboard.csv"]


@pytest.mark.slow
def test_a_run_that_breaks_is_marked_as_failed(root, tmp_path):
    broken = "trainer.callbacks=[{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: nothing}]"
    assert command_line(tmp_path, root, broken).returncode != 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    assert [item.info.status for item in runs] == ["FAILED"]
