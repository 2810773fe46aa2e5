"""What somebody deleted in MLflow, or broke: one line with the way out, before anything is decoded."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from omegaconf import OmegaConf
from support import world
from support.shut import shut

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.rerun import rescore
from mimii_pl.run import run
from mimii_pl.sweep.winners import find_sweep
from mimii_pl.tracking.compare import compare
from mimii_pl.tracking.description import RunDescription
from mimii_pl.tracking.logger import Recorder, RunLogger, recorder_of
from mimii_pl.tracking.record import record
from mimii_pl.tracking.recorded_runs import finished_runs
from mimii_pl.tracking.registry import add_version
from mimii_pl.tracking.store import open_store, require_store
from mimii_pl.tracking.sweep_recorder import begin_sweep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
RESTORE = r"experiment mimii_pl was deleted in sqlite:.*mlflow experiments restore -x 1\), or set {}experiment_name="
QUICK = "model=level", "trainer=smoke", "report=brief", "efficiency.seconds=0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with the experiment; making one takes a second."""
    folder = tmp_path_factory.mktemp("whole")
    open_store(f"sqlite:///{folder}/mlflow.db", "mimii_pl")
    return folder / "mlflow.db"


@pytest.fixture
def uri(whole, tmp_path):
    shutil.copy(whole, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    _change(tmp_path / "mlflow.db", f"UPDATE experiments SET artifact_location = 'file://{tmp_path}/artifacts'")
    return uri


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("deleted") / "world", train=4, test=1, seconds=0.5)


def configured(root, uri, tmp_path, *overrides, name="train"):
    cfg = compose([*overrides, f"trainer.logger.tracking_uri={uri}"], name)
    if name == "train":
        cfg.dataset.root, cfg.dataset.cache_dir = str(root), str(tmp_path / "cache")
    return cfg


@pytest.fixture
def recorded(root, uri, tmp_path):
    """A finished run that MLflow has."""
    run_dir = tmp_path / "run"
    run(configured(root, uri, tmp_path, *QUICK), run_dir)
    return run_dir


def run_ids(uri, experiment="1"):
    return [run.info.run_id for run in mlflow.MlflowClient(uri).search_runs([experiment])]


def test_a_deleted_experiment_ends_a_run_before_it_trains(root, uri, tmp_path):
    mlflow.MlflowClient(uri).delete_experiment("1")
    with pytest.raises(InputError, match=RESTORE.format(r"trainer\.logger\.")) as error:
        run(configured(root, uri, tmp_path, *QUICK), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert read_facts(tmp_path / "run") == {}
    run(configured(root, uri, tmp_path, *QUICK, "trainer.logger.experiment_name=other"), tmp_path / "run")
    assert len(run_ids(uri, "2")) == 1


@pytest.mark.slow
def test_the_command_that_it_names_restores_it(uri, tmp_path):
    mlflow.MlflowClient(uri).delete_experiment("1")
    with pytest.raises(InputError) as error:
        require_store(uri, "mimii_pl")
    variable, *words = re.search(r"\((.*)\)", str(error.value))[1].split()
    key, _, value = variable.partition("=")
    subprocess.run([sys.executable, "-m", *words], env={**os.environ, key: value}, check=True, capture_output=True)
    require_store(uri, "mimii_pl")


@pytest.mark.slow
def test_a_deleted_experiment_ends_a_rescoring_before_it_scores(root, uri, recorded, tmp_path, monkeypatch):
    mlflow.MlflowClient(uri).delete_experiment("1")
    monkeypatch.setattr("mimii_pl.run.evaluate", None)
    cfg = configured(root, uri, tmp_path, f"run={recorded}", "backend=knn", name="command/rescore")
    with pytest.raises(InputError, match=RESTORE.format(r"trainer\.logger\.")):
        rescore(cfg, tmp_path / "rescored")


def test_compare_and_retrain_name_a_deleted_experiment(uri, tmp_path):
    mlflow.MlflowClient(uri).delete_experiment("1")
    with pytest.raises(InputError, match=RESTORE.format("")):
        compare(tracking_uri=uri, output=tmp_path / "compare")
    with pytest.raises(InputError, match=RESTORE.format(r"trainer\.logger\.")):
        find_sweep("latest", uri, "mimii_pl", outputs=tmp_path)


def test_runs_that_were_all_deleted_are_named(uri, tmp_path):
    client = mlflow.MlflowClient(uri)
    runs = [client.create_run("1").info.run_id for _ in range(2)]
    for run_id in runs:
        client.set_terminated(run_id, "FINISHED")
        client.delete_run(run_id)
    for ask in (
        lambda: compare(tracking_uri=uri, output=tmp_path / "compare"),
        lambda: find_sweep("latest", uri, "mimii_pl", outputs=tmp_path),
    ):
        with pytest.raises(
            InputError, match=r"every finished run of mimii_pl was deleted in sqlite.*runs restore"
        ) as e:
            ask()
    client.restore_run(re.search(r"--run-id (\w+)", str(e.value))[1])
    with pytest.raises(InputError, match="no finished run"):  # it is one without a model
        finished_runs(uri, "mimii_pl")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["run", "artifacts", "file"])
def test_record_sends_again_what_mlflow_has_lost(uri, recorded, tmp_path, capsys, loss):
    client = mlflow.MlflowClient(uri)
    record(run=str(recorded))
    assert capsys.readouterr().out.endswith("MLflow has everything\n")
    before = client.get_run(read_facts(recorded)["mlflow_run_id"])
    if loss == "run":
        client.delete_run(before.info.run_id)
        with pytest.raises(InputError, match=r"was deleted in sqlite.*`mimii record run="):
            add_version(recorded, "fan", {})
    else:
        place = tmp_path / "artifacts" / before.info.run_id / "artifacts"
        shutil.rmtree(place) if loss == "artifacts" else (place / "report.html").unlink()
    record(run=str(recorded))
    out = capsys.readouterr().out
    assert "MLflow no longer has all of it" in out
    assert "recorded as FINISHED" in out
    after = client.get_run(read_facts(recorded)["mlflow_run_id"])
    assert (after.info.run_id == before.info.run_id) == (loss != "run")
    assert after.data.metrics == before.data.metrics
    assert {"report.html", "checkpoints"} <= {item.path for item in client.list_artifacts(after.info.run_id)}
    record(run=str(recorded))
    assert capsys.readouterr().out.endswith("MLflow has everything\n")


def test_record_names_a_deleted_experiment(uri, tmp_path):
    run_dir = _ended(tmp_path / "run", uri)
    mlflow.MlflowClient(uri).delete_experiment("1")
    with pytest.raises(InputError, match=RESTORE.format(r"trainer\.logger\.")):
        record(run=str(run_dir))


def test_a_sweep_whose_parent_was_deleted_gets_another_with_all_its_runs(uri, tmp_path, capsys):
    sweep_dir = tmp_path / "sweep"
    sweep_dir.mkdir()
    logger = compose([f"trainer.logger.tracking_uri={uri}"]).trainer.logger
    begin_sweep(sweep_dir, logger, {}).end("FINISHED")
    child = _ended(sweep_dir / "0", uri, parent=sweep_dir)
    first = json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"]
    client = mlflow.MlflowClient(uri)
    client.delete_run(first)
    record(run=str(sweep_dir))
    second = json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"]
    assert second != first
    tags = client.get_run(read_facts(child)["mlflow_run_id"]).data.tags
    assert tags["mlflow.parentRunId"] == second
    capsys.readouterr()
    record(run=str(sweep_dir))
    assert capsys.readouterr().out == f"{child}: MLflow has everything\n"


def _ended(run_dir, uri, parent=None):
    """A run that failed, as MLflow has it."""
    run_dir.mkdir()
    cfg = configured("world", uri, run_dir, *QUICK)
    cfg.run_dir = str(run_dir)
    OmegaConf.resolve(cfg)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    recorder = recorder_of(cfg, run_dir)
    recorder.start()
    recorder.logger.log_metrics({"loss": 1.0}, 0)
    recorder.end("FAILED")
    write_facts(run_dir, status="running")
    return run_dir


@pytest.mark.parametrize("gone", ["experiment", "run"])
def test_a_run_that_goes_on_keeps_its_points(uri, tmp_path, caplog, gone):
    run_dir = _ended(tmp_path / "run", uri)
    client = mlflow.MlflowClient(uri)
    (first,) = run_ids(uri)
    client.delete_experiment("1") if gone == "experiment" else client.delete_run(first)
    recorder = recorder_of(configured("world", uri, tmp_path, *QUICK), run_dir)
    recorder.start()
    recorder.logger.log_metrics({"loss": 0.5}, 1)
    recorder.end("FAILED")
    if gone == "experiment":
        assert re.search(RESTORE.format(r"trainer\.logger\."), caplog.text)
        client.restore_experiment("1")
        record(run=str(run_dir))
    (last,) = run_ids(uri)
    assert (last == first) == (gone == "experiment")
    assert [point.value for point in client.get_metric_history(last, "loss")] == [1.0, 0.5]


def test_a_database_that_is_read_only_is_named_before_decoding_and_can_be_compared(uri, tmp_path):
    require_store(uri, "mimii_pl")
    with shut(tmp_path / "mlflow.db"):
        with pytest.raises(InputError, match=r"mlflow.db: attempt to write a readonly database.*logger=none") as error:
            Recorder(RunLogger(tracking_uri=uri), tmp_path / "run", RunDescription("run", {}, {}))
        assert "autoflush" not in str(error.value)
        with pytest.raises(InputError, match="no finished run"):
            finished_runs(uri, "mimii_pl")


def test_a_database_whose_folder_is_shut_is_named_before_decoding(uri, tmp_path):
    (tmp_path / "artifacts").mkdir()
    with shut(tmp_path), pytest.raises(InputError, match=r"mlflow.db: .*see that it can be read and written.*logger="):
        require_store(uri, "mimii_pl")


@pytest.mark.parametrize("kind", ["shut", "file"])
def test_artifacts_that_cannot_be_written_are_named_before_decoding(uri, tmp_path, kind):
    place = tmp_path / "artifacts"
    place.touch() if kind == "file" else place.mkdir()
    with (
        shut(place),
        pytest.raises(InputError, match=r"artifacts cannot be written: .*experiment_name, or logger=none"),
    ):
        require_store(uri, "mimii_pl")


def test_artifacts_that_are_gone_are_made_again(uri, tmp_path):
    require_store(uri, "mimii_pl")
    shutil.rmtree(tmp_path / "artifacts")
    require_store(uri, "mimii_pl")
    assert (tmp_path / "artifacts").is_dir()
