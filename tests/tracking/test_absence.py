"""MLflow goes away and comes back: training neither waits nor ends, and at the end MLflow has everything once."""

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing

import mlflow
import pytest
from omegaconf import OmegaConf
from support import world
from support.cli import mimii, without_mlflow

from mimii_pl.core.errors import InputError
from mimii_pl.core.freeze import freeze_config
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.tracking.description import RunDescription
from mimii_pl.tracking.logger import Recorder, RunLogger
from mimii_pl.tracking.record import record
from mimii_pl.tracking.remote import RemoteRun
from mimii_pl.tracking.sweep_recorder import begin_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
SMALL = "model=simple_ae", "trainer=cpu", "report=brief", "efficiency.seconds=0", "training.epochs=3"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("absence") / "world", train=6, test=2)


def train(server, root, tmp_path, *overrides):
    """Train as from a user's shell, which lets another process talk to MLflow."""
    data = f"dataset.root={root}", f"dataset.cache_dir={root.parent}/cache"
    shell = {name: value for name, value in without_mlflow().items() if name != "OMP_NUM_THREADS"}
    return mimii(
        "train", *SMALL, *data, f"trainer.logger.tracking_uri={server.url}", *overrides, cwd=tmp_path, env=shell
    )


def spooled(run_dir):
    """(name, step, value) of every point of a run, as its directory has them."""
    lines = map(json.loads, (run_dir / "mlflow.jsonl").read_text().splitlines())
    return Counter((name, line["step"], value) for line in lines for name, value in line.get("metrics", {}).items())


def recorded(server, run_id):
    """The same as MLflow has them, read from its database."""
    with closing(sqlite3.connect(server.folder / "server.db")) as database:
        return Counter(database.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (run_id,)))


def runs_of(server, run_dir):
    client = mlflow.MlflowClient(server.url)
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    return [run for run in runs if run.data.tags.get("run_dir") == str(run_dir)]


def check(server, run_dir, status="FINISHED"):
    """MLflow has one run of this directory, with every point once, its results and its files."""
    (run,) = runs_of(server, run_dir)
    assert (run.info.run_id, run.info.status) == (read_facts(run_dir)["mlflow_run_id"], status)
    points = recorded(server, run.info.run_id)
    assert points == spooled(run_dir)
    assert set(points.values()) == {1}
    steps = Counter((name, step) for name, step, _ in points)
    assert set(steps.values()) == {1}
    return run


def test_a_run_whose_server_is_killed_finishes_and_is_recorded_later(server, root, tmp_path):
    run_dir = tmp_path / "run"
    kills = "+augmentation.fault._target_=support.faults.Kill", f"+augmentation.fault.group={server.process.pid}"
    done = train(server, root, tmp_path, *kills, f"hydra.run.dir={run_dir}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert read_facts(run_dir)["status"] == "finished"
    said = "".join((done.stdout + done.stderr).split())  # lines of the log are wrapped
    assert "pointsarekeptin" in said
    assert f"mimiirecordrun={run_dir}" in said
    gone = mimii("record", f"run={run_dir}", cwd=tmp_path)
    assert (gone.returncode, len(gone.stderr.splitlines())) == (1, 1)
    assert gone.stderr.startswith("error: no answer from the MLflow server")

    server.start()
    for expected in (f"recorded as FINISHED, {sum(spooled(run_dir).values())} points sent", "MLflow has everything"):
        done = mimii("record", f"run={run_dir}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        run = check(server, run_dir)
    assert {"train/loss", "val/loss", "test/auc/id_00", "val/sensitivity"} <= run.data.metrics.keys()
    names = {item.path for item in mlflow.MlflowClient(server.url).list_artifacts(run.info.run_id)}
    assert {"config.yaml", "results.csv", "report.html", "checkpoints"} <= names

    before = recorded(server, run.info.run_id)
    longer = mimii("resume", f"run={run_dir}", "trainer.max_epochs=5", "trust=[support]", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    check(server, run_dir)
    after = recorded(server, run.info.run_id)
    assert before < after  # further steps; no point was changed


def test_runs_of_a_sweep_go_on_without_a_server_and_are_recorded_with_it(server, root, tmp_path):
    sweep_dir = tmp_path / "sweep"
    gone = "trainer.logger.tracking_uri=http://127.0.0.1:9"
    done = train(server, root, tmp_path, "-m", "seed=0,1", f"hydra.sweep.dir={sweep_dir}", gone)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "raised" not in done.stderr  # Hydra's warning of a callback that failed
    assert (sweep_dir / "leaderboard.csv").is_file()
    recording = mimii("record", f"run={sweep_dir}", f"tracking_uri={server.url}", cwd=tmp_path)
    assert recording.returncode == 0, recording.stderr
    facts = json.loads((sweep_dir / "sweep.json").read_text())
    client = mlflow.MlflowClient(server.url)
    parent = client.get_run(facts["mlflow_run_id"])
    assert (parent.info.status, parent.data.tags["failed"]) == ("FINISHED", "0")
    assert "best/fan/sensitivity" in parent.data.metrics
    assert "leaderboard.csv" in {item.path for item in client.list_artifacts(parent.info.run_id)}
    for child in sorted(sweep_dir.glob("[01]-*")):
        assert check(server, child).data.tags["mlflow.parentRunId"] == parent.info.run_id


def pruned_child(sweep_dir, number, uri):
    """A child that a search pruned before MLflow could be reached."""
    child = sweep_dir / f"{number}-dense_ae-fan"
    freeze_config(world.composed("model=dense_ae", f"trainer.logger.tracking_uri={uri}"), child)
    write_facts(child, status="pruned", reason="it was the worst", mlflow_key=f"key {number}")
    return child


@pytest.mark.parametrize(
    ("ended", "status"),
    [("FINISHED", "FINISHED"), ("KILLED", "KILLED"), ("", "KILLED"), ("continued", "KILLED"), ("earlier", "FINISHED")],
)
def test_the_end_of_a_sweep_is_recorded_as_it_was_whatever_one_of_its_runs_is(ended, status, tmp_path, capsys):
    sweep_dir, uri = tmp_path / "sweep", f"sqlite:///{tmp_path}/mlflow.db"
    sweep_dir.mkdir()
    logger = OmegaConf.create({"tracking_uri": uri, "experiment_name": "mimii_pl"})
    recorder = begin_sweep(sweep_dir, logger, {})
    children = [pruned_child(sweep_dir, number, uri) for number in range(3)]
    damaged = children[1] / "run.json"
    damaged.write_text("{")
    if ended not in ("", "KILLED"):
        recorder.add(tags={"failed": 1})
        recorder.end("FINISHED")
    if ended == "KILLED":
        recorder.end("KILLED")
    if ended == "continued":
        begin_sweep(sweep_dir, logger, {})
    if ended == "earlier":  # than sweep.json said so
        facts = json.loads((sweep_dir / "sweep.json").read_text())
        (sweep_dir / "sweep.json").write_text(json.dumps({key: facts[key] for key in facts if key != "finished"}))
    with pytest.raises(InputError, match=rf"MLflow lacks {children[1].name}, for"):
        record(run=str(sweep_dir))
    assert f"{children[1]} is not recorded: {damaged} is damaged" in capsys.readouterr().err
    client = mlflow.MlflowClient(uri)
    parent = json.loads((sweep_dir / "sweep.json").read_text())["mlflow_run_id"]
    assert client.get_run(parent).info.status == status
    for child in (children[0], children[2]):
        recorded = client.get_run(read_facts(child)["mlflow_run_id"])
        assert (recorded.info.status, recorded.data.tags["mlflow.parentRunId"]) == ("KILLED", parent)


def test_a_sweep_that_goes_on_without_mlflow_keeps_what_mlflow_has_of_it(tmp_path, monkeypatch, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = OmegaConf.create({"tracking_uri": uri, "experiment_name": "mimii_pl"})
    begin_sweep(tmp_path, logger, {"overrides": "seed=0"}).end("KILLED")
    before = json.loads((tmp_path / "sweep.json").read_text())
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(RemoteRun, "open", asked.append)
        recorder = begin_sweep(tmp_path, None, {"overrides": "seed=1"})
        recorder.add(tags={"failed": 0}, metrics={"best/fan/sensitivity": 0.75})
        recorder.end("FINISHED")
    after = json.loads((tmp_path / "sweep.json").read_text())
    assert asked == []
    assert after == {**before, "finished": True, "tags": {"overrides": "seed=0", "failed": "0"}}
    child = tmp_path / "0-dense_ae-fan"
    freeze_config(world.composed("model=dense_ae", "logger=none"), child)
    write_facts(child, status="pruned", reason="it was the worst")
    record(run=str(tmp_path))
    assert f"run={child} was started with logger=none" in capsys.readouterr().out
    client = mlflow.MlflowClient(uri)
    (parent,) = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    assert (parent.info.run_id, parent.info.status) == (before["mlflow_run_id"], "FINISHED")
    assert parent.data.metrics == {"best/fan/sensitivity": 0.75}


def test_training_does_not_wait_for_a_server_that_does_not_answer(server, tmp_path, caplog):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    logger = RunLogger(tracking_uri=server.url)
    recorder = Recorder(logger, run_dir, RunDescription("run", {"run_dir": str(run_dir)}, {"model": "none"}))
    recorder.start()
    longest = 0.0
    with recorder.sending():
        server.pause()
        for step in range(120):
            start = time.perf_counter()
            logger.log_metrics({"loss": float(step)}, step)
            longest = max(longest, time.perf_counter() - start)
            time.sleep(0.1)
        server.go_on()
    recorder.end("FAILED")
    assert longest < 1  # s
    check(server, run_dir, "FAILED")
    assert "points are kept in" in caplog.text


def test_a_kill_between_the_making_of_a_run_and_the_note_of_its_id_leaves_no_orphan(tmp_path):
    run_dir, uri = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    run_dir.mkdir()
    description = RunDescription("run", {"run_dir": str(run_dir)}, {"model": "none"})
    for _ in range(2):
        recorder = Recorder(RunLogger(tracking_uri=uri), run_dir, description)
        recorder.start()
        key = read_facts(run_dir)["mlflow_key"]
        (run_dir / "run.json").unlink()
        write_facts(run_dir, status="running", mlflow_key=key)  # as the kill leaves it
    recorder.end("KILLED")
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mimii_pl").experiment_id])
    assert [(run.info.status, run.data.params) for run in runs] == [("KILLED", {"model": "none"})]


def test_a_run_that_another_store_knew_is_recorded_anew(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    description = RunDescription("run", {}, {})
    for name in ("first", "second"):
        logger = RunLogger(tracking_uri=f"sqlite:///{tmp_path}/{name}.db")
        recorder = Recorder(logger, run_dir, description)
        recorder.start()
        with recorder.sending():
            logger.log_metrics({"loss": 1.0}, 0 if name == "first" else 1)
        recorder.end("KILLED")
        write_facts(run_dir, status="running")
    run = mlflow.MlflowClient(logger.tracking_uri).get_run(read_facts(run_dir)["mlflow_run_id"])
    history = mlflow.MlflowClient(logger.tracking_uri).get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == [0, 1]
